"""Keeping a worker on a CPU small: large blocks go back to the system as soon as they are freed."""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3
LARGE_BLOCK = 4_000_000
"""Bytes. Only tensors of networks at 32x32 are so large; the slim presets' are not, and lose nothing."""


def return_large_blocks() -> None:
    """Have glibc map blocks of `LARGE_BLOCK` bytes or more on their own, instead of leaving holes in its heap.

    `tests/benchmarks/bench_collect.py` prints a worker's peak. Elsewhere than with glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK)
