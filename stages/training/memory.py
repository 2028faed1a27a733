"""How a worker on a CPU keeps its memory: glibc's allocator, told what the work is like."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_MMAP_MAX = -4
LARGE_BLOCK = 4_000_000
"""Bytes. Only tensors of networks at 32x32 are so large; the slim presets' are not, and lose nothing."""


def return_large_blocks() -> None:
    """Have blocks of `LARGE_BLOCK` bytes or more mapped on their own, instead of leaving holes in the heap.

    For networks whose tensors have many sizes: `tests/benchmarks/bench_collect.py` prints a worker's peak.
    """
    _mallopt({_M_MMAP_THRESHOLD: LARGE_BLOCK})


def keep_large_blocks() -> None:
    """Have freed blocks kept, up to a gigabyte, instead of mapped again.

    For models whose few large tensors are the same in each step: new pages would cost an eighth of it.
    """
    _mallopt({_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 1 << 30})


def _mallopt(settings: dict[int, int]) -> None:
    """Elsewhere than with glibc nothing happens."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, value in settings.items():
            mallopt(name, value)
