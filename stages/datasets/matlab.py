"""Arrays of numbers in MATLAB 5 files, no more of the format.

SciPy's reader would do, but a megabyte of cells within cells ends its process with a segmentation fault.

A file is a header of 128 bytes and elements, each a type, a size and its content; a matrix is an element of
elements (flags, dimensions, name, values), and may be compressed (MathWorks, MAT-File Format, version 7).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MOST_BYTES: Final = 2**30
HEADER: Final = 128
NAME_WITHIN: Final = 1024
"""Bytes of a matrix before its values."""

_MATRIX, _COMPRESSED = 14, 15
_COMPLEX = 0x800
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4"}


def read(content: bytes, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """Return the arrays of these names; others are passed over.

    Raises:
        ValueError: It is no such file, a name is there twice, or its array is not one of real numbers.
    """
    order = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}.get(content[HEADER - 4 : HEADER])
    if order is None:
        raise ValueError("its header is not that of MATLAB 5")
    found: dict[str, NDArray[Any]] = {}
    for kind, body in _elements(memoryview(content)[HEADER:], order):
        if kind not in (_MATRIX, _COMPRESSED):
            continue
        packed = kind == _COMPRESSED
        name = _parts(_matrix(body, order, NAME_WITHIN, packed), order)[2]
        if name in found:
            raise ValueError(f"{name} is there twice")
        if name in names:
            found[name] = _array(_matrix(body, order, MOST_BYTES, packed), order)
    return found


def _matrix(body: memoryview, order: str, most: int, packed: bool) -> memoryview:
    """Return the beginning of a matrix element's content, unpacked; what goes on behind it is cut off."""
    if not packed:
        return body[:most]
    try:
        content = memoryview(zlib.decompressobj().decompress(body, most))
    except zlib.error as error:
        raise ValueError(f"it cannot be unpacked ({error})") from error
    kind, size = _numbers(content, order, "II")
    if kind != _MATRIX:
        raise ValueError("what is packed is no matrix")
    return content[8 : 8 + size]


def _parts(
    content: memoryview, order: str
) -> tuple[int, tuple[int, ...], str, Iterator[tuple[int, memoryview]]]:
    """Return flags, dimensions and name of a matrix, and the elements after them."""
    elements = _elements(content, order)
    try:
        (_, flags), (_, dimensions), (_, name) = (next(elements) for _ in range(3))
    except (StopIteration, RuntimeError):
        raise ValueError("a matrix is cut off") from None
    shape = _numbers(dimensions, order, f"{len(dimensions) // 4}i")
    return _numbers(flags, order, "I")[0], shape, bytes(name).decode("latin1"), elements


def _array(content: memoryview, order: str) -> NDArray[Any]:
    flags, shape, name, elements = _parts(content, order)
    stored, values = next(elements, (0, memoryview(b"")))
    kind = _CLASSES.get(flags & 0xFF)
    if kind is None or flags & _COMPLEX or stored not in _STORED:
        raise ValueError(f"{name} is not of real numbers")
    dtype = np.dtype(order + _STORED[stored])
    if not 0 < len(shape) <= 8 or min(shape) < 0 or math.prod(shape) * dtype.itemsize != len(values):
        raise ValueError(f"{name} has a shape that its values do not fill")
    found: NDArray[Any] = np.frombuffer(values, dtype).reshape(shape, order="F")
    return found.astype(kind, copy=False)


def _elements(content: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yield type and content of each element; small ones have both in eight bytes. The last may be cut off."""
    at = 0
    while at < len(content):
        kind, size = _numbers(content[at:], order, "II")
        small = kind >> 16
        if small > 4:
            raise ValueError("a small element is too large")
        start, size = (at + 4, small) if small else (at + 8, size)
        yield kind & 0xFFFF, content[start : start + size]
        # All but the compressed ones begin at a multiple of eight.
        at = at + 8 if small else start + size + (0 if kind == _COMPRESSED else -size % 8)


def _numbers(content: memoryview, order: str, form: str) -> tuple[int, ...]:
    try:
        return struct.unpack_from(order + form, content)
    except struct.error:
        raise ValueError("an element is cut off") from None
