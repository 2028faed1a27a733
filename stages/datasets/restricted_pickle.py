"""Unpickling that admits NumPy arrays, plain containers and numbers, and executes nothing else (SPEC R12)."""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

_NDARRAY = object()
"""What `numpy.ndarray` resolves to: a mark that `_reconstruct` asks for, not the callable class."""


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
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        ImportError,
        OverflowError,
        MemoryError,
    ) as error:
        raise UnsafePickleError(f"the pickle is damaged ({error})") from error


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Resolve a global from the short list; everything else is refused before it is imported."""
        if (module, name) == ("numpy", "ndarray"):
            return _NDARRAY
        function = _ADMITTED.get((module, name))
        if function is None:
            raise UnsafePickleError(f"the pickle asks for {module}.{name}, which is refused")
        return lambda *args: function(*args)  # a fresh one, so a pickle can change nothing that outlives it

    def persistent_load(self, pid: Any) -> Any:
        """Refuse references to outside."""
        raise UnsafePickleError(f"the pickle refers to the outside object {pid!r}, which is refused")


class _Kind:
    """Stand-in for a type of numbers."""

    def __init__(self, code: Any, *_flags: Any) -> None:
        self.dtype = np.dtype(code if isinstance(code, str) else "O")
        if self.dtype.kind not in "biufc":
            raise UnsafePickleError(f"the pickle asks for the type {code!r}, which is refused")

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
        raise UnsafePickleError(f"the pickle asks for an array of type {subtype!r}, which is refused")
    return _Array()


def _scalar(kind: Any, raw: Any) -> Any:
    return _from_buffer(_bytes(raw), kind, (), "C")[()]


def _from_buffer(buffer: Any, kind: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    if not isinstance(kind, _Kind) or len(buffer) != math.prod(shape) * kind.dtype.itemsize:
        raise UnsafePickleError(
            f"the pickle holds an array of shape {shape!r} that its content does not fill"
        )
    array: np.ndarray[Any, Any] = np.frombuffer(buffer, kind.dtype).reshape(shape, order=order)
    return array


def _bytes(raw: Any) -> bytes:
    # Python 2's bytes arrive as text.
    return raw.encode("latin1") if isinstance(raw, str) else bytes(memoryview(raw))


def _latin1(text: Any, encoding: Any = "latin1") -> bytes:
    # Python 3 writes bytes for Python 2 as text to encode; other codecs are not needed, so not admitted.
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise UnsafePickleError(f"the pickle asks for the codec {encoding!r}, which is refused")
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
