"""Unpickling that admits NumPy arrays, plain containers and numbers, and executes nothing else (R12).

An allow-list in `find_class` alone does not do: with it, 125 bytes of keys within keys hang the unpickler, and 13
bytes ask for gigabytes. This is Python's own unpickler in Python: unlike the one in C it makes room for what is there,
not for what a number in the pickle promises. Of its operations only those stay that such pickles are made of, and keys
of dictionaries are text, since a tuple of tuples of tuples takes for ever to be hashed, compared or printed.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

_NDARRAY = object()
"""What `numpy.ndarray` resolves to: a mark that `_reconstruct` asks for, not the callable class."""

_CODE = re.compile("[<>=|]?[biufc][0-9]{1,2}")

_NAMES = """
    MARK STOP POP POP_MARK DUP FLOAT INT BININT BININT1 LONG BININT2 LONG1 LONG4 BINFLOAT NEWTRUE NEWFALSE NONE
    STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES
    BINBYTES8 LIST EMPTY_LIST APPEND APPENDS TUPLE EMPTY_TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT GET BINGET LONG_BINGET
    PUT BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL PERSID BINPERSID PROTO FRAME
"""
"""Operations that are Python's own; those of dictionaries, calls and states are this module's."""


class UnsafePickleError(ValueError):
    """A pickle that asks for something beyond arrays, containers and numbers, or that is no pickle at all."""


def loads(content: bytes) -> Any:
    """The object in a pickle of Python 2 or 3: an array, numbers, containers, dictionaries of arrays.

    NumPy's own unpickling never sees the content: stand-ins collect an array's description, and the array is
    made from it once it is checked.

    Raises:
        UnsafePickleError: It names anything but NumPy's array constructors, or is damaged. Nothing was run.
    """
    try:
        return _finished(_Unpickler(io.BytesIO(content), encoding="latin1").load())
    except UnsafePickleError:
        raise
    except Exception as error:
        raise UnsafePickleError(f"the pickle is damaged ({type(error).__name__})") from error


class _Unpickler(pickle._Unpickler):
    stack: list[Any]
    read: Callable[[int], bytes]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Callable[..., Any]]] = {
        code: pickle._Unpickler.dispatch[code]
        for code in (getattr(pickle, name)[0] for name in _NAMES.split())
    }

    def find_class(self, module: str, name: str) -> Any:
        """Resolve a global from the short list; everything else is refused before it is imported."""
        if (module, name) == ("numpy", "ndarray"):
            return _NDARRAY
        function = _ADMITTED.get((str(module), str(name)))
        if function is None:
            raise UnsafePickleError(f"the pickle asks for {module}.{name}, which is refused")
        return lambda *args: function(*args)  # a fresh one, so a pickle can change nothing that outlives it

    def persistent_load(self, pid: Any) -> Any:  # noqa: ARG002
        """Refuse references to outside."""
        raise UnsafePickleError("the pickle refers to an object outside of it, which is refused")

    def _bytes(self) -> None:
        (size,) = struct.unpack("<Q", self.read(8))
        content = self.read(min(size, sys.maxsize))
        if len(content) < size:
            raise UnsafePickleError("the pickle is cut off")
        self.append(content)

    def _dict(self) -> None:
        items = self.pop_mark()
        self.append(_keyed({}, items[::2], items[1::2]))

    def _setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _keyed(self.stack[-1], [key], [value])

    def _setitems(self) -> None:
        items = self.pop_mark()
        _keyed(self.stack[-1], items[::2], items[1::2])

    def _reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack[-1]
        if type(arguments) is not tuple or not callable(function):
            raise UnsafePickleError("the pickle calls what cannot be called, which is refused")
        self.stack[-1] = function(*arguments)

    def _build(self) -> None:
        state, built = self.stack.pop(), self.stack[-1]
        if not isinstance(built, _Kind | _Array) or type(state) is not tuple:
            raise UnsafePickleError("the pickle changes what is no array, which is refused")
        built.__setstate__(state)

    dispatch |= {
        pickle.BYTEARRAY8[0]: _bytes,
        pickle.DICT[0]: _dict,
        pickle.SETITEM[0]: _setitem,
        pickle.SETITEMS[0]: _setitems,
        pickle.REDUCE[0]: _reduce,
        pickle.BUILD[0]: _build,
    }


def _keyed(into: Any, keys: list[Any], values: list[Any]) -> dict[str, Any]:
    if type(into) is not dict or not all(type(key) in (str, bytes) for key in keys):
        raise UnsafePickleError("the pickle holds a dictionary whose keys are no text, which is refused")
    into.update(zip(keys, values, strict=True))
    return into


class _Kind:
    """Stand-in for a type of numbers."""

    def __init__(self, code: Any, *_flags: Any) -> None:
        if not isinstance(code, str) or _CODE.fullmatch(code) is None:
            raise UnsafePickleError(f"the pickle asks for the type {_shown(code)}, which is refused")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take the byte order; the rest of the state describes structured types only."""
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stand-in for an array, until its pickled state arrives."""

    array: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take version, shape, type, memory order and content."""
        _, shape, kind, fortran, raw = state
        self.array = _from_buffer(_bytes(raw), kind, shape, "F" if fortran else "C")


def _finished(value: Any) -> Any:
    if isinstance(value, _Array):
        if value.array is None:
            raise UnsafePickleError("the pickle holds an array without content")
        return value.array
    if isinstance(value, dict):
        return {key: _finished(item) if isinstance(item, _Array) else item for key, item in value.items()}
    return value


def _reconstruct(subtype: Any, *_start: Any) -> _Array:
    if subtype is not _NDARRAY:
        raise UnsafePickleError(f"the pickle asks for an array of type {_shown(subtype)}, which is refused")
    return _Array()


def _scalar(kind: Any, raw: Any) -> Any:
    return _from_buffer(_bytes(raw), kind, (), "C")[()]


def _from_buffer(buffer: Any, kind: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    if not isinstance(kind, _Kind) or not _is_shape(shape) or order not in ("C", "F"):
        raise UnsafePickleError("the pickle holds an array whose type or shape is none")
    if len(buffer) != math.prod(shape) * kind.dtype.itemsize:
        raise UnsafePickleError(f"the pickle holds an array of shape {shape} that its content does not fill")
    array: np.ndarray[Any, Any] = np.frombuffer(buffer, kind.dtype).reshape(shape, order=order)
    return array


def _is_shape(shape: Any) -> bool:
    if type(shape) is not tuple or len(shape) > 32:
        return False
    return all(type(length) is int and 0 <= length < 2**40 for length in shape)


def _shown(value: Any) -> str:
    """A value for a message; one that is no short text may be endless."""
    return repr(value) if isinstance(value, str) and len(value) < 80 else f"of a {type(value).__name__}"


def _bytes(raw: Any) -> bytes:
    # Python 2's bytes arrive as text.
    return raw.encode("latin1") if isinstance(raw, str) else bytes(memoryview(raw))


def _latin1(text: Any, encoding: Any = "latin1") -> bytes:
    # Python 3 writes bytes for Python 2 as text to encode; other codecs are not needed, so not admitted.
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise UnsafePickleError(f"the pickle asks for the codec {_shown(encoding)}, which is refused")
    return text.encode("latin1")


_ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): _Kind,
    ("_codecs", "encode"): _latin1,
    **{
        (f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")
        for module, name, function in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}
