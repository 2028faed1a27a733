"""The reference for the twelve statistics: a plain NumPy and SciPy loop over units, clear and slow (R7)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from stages.recording.units import sampled_units

Array = npt.NDArray[np.float64]
PERCENTILES = (0, 25, 50, 75, 100)


def eleven_features(values: Array) -> list[float]:
    """The first eleven features of a vector of values, NaN where there is no such value."""
    present = values[~np.isnan(values)]
    if present.size == 0:
        return [np.nan] * 11
    return [
        np.nanmean(values),
        np.nanmedian(values),
        np.nanvar(values),
        np.nanstd(values),
        np.nanmin(values),
        np.nanmax(values),
        stats.skew(values, nan_policy="omit"),
        stats.kurtosis(values, nan_policy="omit"),
        np.cov(present, ddof=1) if present.size > 1 else np.nan,
        np.nansum(np.abs(values)),
        np.sqrt(np.nansum(values**2)),
    ]


def five_percentiles(values: Array) -> Array:
    """Minimum, quartiles and maximum, interpolated linearly."""
    return np.asarray(np.nanpercentile(values, PERCENTILES), dtype=np.float64)


def layer_statistics(layer: npt.NDArray[np.floating]) -> Array:
    """(units, ...) -> (100, 12): row 0 the layer, rows 1-99 its units, last column percentiles (R6)."""
    units = layer.reshape(layer.shape[0], -1)[sampled_units(layer.shape[0])].astype(np.float64)
    result = np.full((100, 12), np.nan)
    result[0, :11] = eleven_features(units.ravel())
    result[:5, 11] = five_percentiles(units.ravel())
    for row, unit in enumerate(units):
        result[row + 1, :11] = eleven_features(unit)
        if row < 19:
            result[5 * (row + 1) : 5 * (row + 2), 11] = five_percentiles(unit)
    return result


def network_statistics(layers: Sequence[npt.NDArray[np.floating]]) -> Array:
    """(layers, 100, 12); NumPy's and SciPy's warnings about empty and constant units are beside the point."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return np.stack([layer_statistics(layer) for layer in layers])
