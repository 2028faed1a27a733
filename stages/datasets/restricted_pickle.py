"""Unpickling that admits NumPy arrays, plain containers and numbers, and executes nothing else (SPEC R12)."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np


class UnsafePickleError(ValueError):
    """A pickle that asks for something beyond arrays, containers and numbers, or that is no pickle at all."""


def loads(content: bytes) -> Any:
    """The object in a pickle of Python 2 or 3.

    Raises:
        UnsafePickleError: It names anything but NumPy's array constructors, or is damaged. Nothing has been executed.
    """
    try:
        return _Unpickler(io.BytesIO(content), encoding="latin1").load()
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
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise UnsafePickleError(f"the pickle asks for {module}.{name}, which is refused") from None

    def persistent_load(self, pid: Any) -> Any:
        """Refuse references to outside."""
        raise UnsafePickleError(f"the pickle refers to the outside object {pid!r}, which is refused")


def _reconstruct(subtype: Any, shape: Any, kind: Any) -> np.ndarray[Any, Any]:
    # NumPy always starts from an empty array and fills it by __setstate__; other shapes would only cost memory.
    if subtype is not np.ndarray or shape != (0,):
        raise UnsafePickleError(
            f"the pickle asks for an array of type {subtype!r}, shape {shape!r}, which is refused"
        )
    return np.empty(0, np.uint8)


def _dtype(code: Any, *flags: Any) -> np.dtype[Any]:
    # An array of objects, or a structured type that could hide one, is no array of numbers.
    kind = np.dtype(code) if isinstance(code, str) else None
    if kind is None or kind.kind not in "biufcSU":
        raise UnsafePickleError(f"the pickle asks for the type {code!r}, which is refused")
    admitted: np.dtype[Any] = np.dtype(code, *flags)
    return admitted


def _scalar(kind: Any, data: Any = b"") -> Any:
    raw = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(kind, np.dtype) or not isinstance(raw, bytes) or len(raw) != kind.itemsize:
        raise UnsafePickleError("the pickle holds a damaged number")
    return np.frombuffer(raw, kind)[0]


def _from_buffer(buffer: Any, kind: Any, shape: Any, order: str) -> np.ndarray[Any, Any]:
    return np.frombuffer(buffer, kind).reshape(shape, order=order)  # type: ignore[call-overload, no-any-return]


def _latin1(text: Any, encoding: Any = "latin1") -> bytes:
    # Python 3 writes bytes for Python 2 as text to encode; other codecs are not needed, so not admitted.
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise UnsafePickleError(f"the pickle asks for the codec {encoding!r}, which is refused")
    return text.encode("latin1")


_ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
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
