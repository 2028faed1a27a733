"""Which units of a layer are looked at: a function of the layer's width alone (R5). No torch here."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

UNITS_MOST = 99
UNITS_SEED = 42


@lru_cache(maxsize=4096)
def sampled_units(width: int, most: int = UNITS_MOST, seed: int = UNITS_SEED) -> npt.NDArray[np.int64]:
    """Indices of the units that stand for a layer (R5, App. B.4).

    Args:
        width: Units of the layer: output filters of a convolution, output neurons of a dense layer.
        most: Units taken at most; a layer that has no more than these is taken whole.
        seed: Seed of the draw, the same for every layer, network and snapshot.

    Returns:
        Ascending indices, shape (min(width, most),). The array is shared between calls and read-only.

    Raises:
        ValueError: A width or a limit below one.
    """
    if width < 1 or most < 1:
        raise ValueError(f"cannot sample {most} of {width} units: both must be at least 1")
    if width <= most:
        units = np.arange(width, dtype=np.int64)
    else:
        drawn = np.random.default_rng(seed).choice(width, size=most, replace=False)
        units = np.sort(drawn).astype(np.int64)
    units.setflags(write=False)
    return units
