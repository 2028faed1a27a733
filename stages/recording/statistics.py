"""The twelve statistics of every layer, for all layers of a network at once (R5-R8, App. B.5).

Layers of equal shape are stacked and computed together. Each unit is sorted once, in the dtype that it came
in, which gives minimum, maximum, median and percentiles exactly; sums run over the values in their own
order, in float64, about the mean. A unit is reduced by itself and a layer from its units, so no layer's
result depends on which others share its block. Nothing here draws random numbers or changes its inputs.
(torch splits the sum of a lone unit of more than 32,768 values among its threads: R10 fixes their number.)

Infinite values: means and norms are infinite as in NumPy, central moments are NaN, and a percentile that
falls on a value is that value (NumPy's interpolation gives NaN there).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stages.recording.units import sampled_units
from storage_schema.schema import FEATURES, VALUES

N_FEATURES = len(FEATURES)
N_VALUES = VALUES
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
QUANTILE_COLUMN = N_FEATURES - 1
UNITS_WITH_QUANTILES = N_VALUES // len(QUANTILES) - 1

# Bounds memory; large blocks make few calls of torch.
_BLOCK_VALUES = 1 << 19
# What is multiplied again and again on a CPU should stay in its second-level cache.
_CACHED_VALUES = 1 << 15


@dataclass(frozen=True)
class _Block:
    """Layers of one shape that are computed together."""

    layers: tuple[int, ...]
    shape: tuple[int, int]
    units: Tensor | None
    rows: Tensor


@dataclass(frozen=True)
class StatisticsPlan:
    """How the layers of one network are grouped; made once, used for every snapshot.

    Attributes:
        shapes: (units, values per unit) of every layer, in order.
        device: Where the tensors are, and the result will be.
        blocks: The groups of layers.
    """

    shapes: tuple[tuple[int, int], ...]
    device: torch.device
    blocks: tuple[_Block, ...]

    @classmethod
    def build(cls, shapes: Sequence[tuple[int, int]], device: torch.device | str = "cpu") -> StatisticsPlan:
        """Group layers by shape.

        Args:
            shapes: (units, values per unit) of every layer.
            device: The device of the tensors to come.

        Raises:
            ValueError: A layer without units or values.
        """
        device = torch.device(device)
        groups: dict[tuple[int, int], list[int]] = {}
        for layer, (units, values) in enumerate(shapes):
            if units < 1 or values < 1:
                raise ValueError(f"layer {layer} has shape ({units}, {values}): both must be at least 1")
            groups.setdefault((units, values), []).append(layer)
        blocks = [block for shape, layers in groups.items() for block in _blocks(shape, layers, device)]
        return cls(tuple((u, v) for u, v in shapes), device, tuple(blocks))

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> StatisticsPlan:
        """The plan for these weights: unit = first dimension, the others flattened (R5)."""
        device = tensors[0].device if tensors else torch.device("cpu")
        return cls.build([(t.shape[0], t[0].numel()) for t in tensors], device)


def statistics(tensors: Sequence[Tensor], plan: StatisticsPlan) -> Tensor:
    """Compute the twelve statistics of every layer (R6, R7).

    Args:
        tensors: Weights or gradients, (units, ...) each, on the plan's device; left as they are.
        plan: The plan of this network.

    Returns:
        (layers, 100, 12) float64. Row 0 is the layer over its sampled units, rows 1-99 the units; in the
        last column rows 0-4 are the layer's five percentiles, rows 5-99 those of the first 19 units. NaN
        means that there is no such value (R8).

    Raises:
        ValueError: The tensors are not those the plan was made for.
    """
    _check(tensors, plan)
    # torch.no_grad: a parameter may not be stacked into an autograd graph that then outlives the snapshot.
    with torch.no_grad():
        shape = (len(plan.shapes), N_VALUES, N_FEATURES)
        result = torch.full(shape, torch.nan, dtype=torch.float64, device=plan.device)
        for block in plan.blocks:
            result[block.rows] = _block_statistics(_stack(tensors, block))
    return result


def _blocks(shape: tuple[int, int], layers: list[int], device: torch.device) -> list[_Block]:
    """Cut the layers of one shape into blocks of bounded size."""
    width, values = shape
    picked = sampled_units(width)
    step = max(1, _BLOCK_VALUES // (len(picked) * values))
    units = torch.tensor(picked, device=device) if len(picked) < width else None
    parts = [tuple(layers[start : start + step]) for start in range(0, len(layers), step)]
    return [_Block(part, shape, units, torch.tensor(part, device=device)) for part in parts]


def _check(tensors: Sequence[Tensor], plan: StatisticsPlan) -> None:
    """Refuse tensors that the plan was not made for."""
    if len(tensors) != len(plan.shapes):
        found, planned = len(tensors), len(plan.shapes)
        raise ValueError(f"{found} tensors for a plan of {planned} layers: build a plan for them")
    for layer, (tensor, (units, values)) in enumerate(zip(tensors, plan.shapes, strict=True)):
        if tensor.ndim == 0 or tensor.shape[0] != units or tensor.numel() != units * values:
            shape = tuple(tensor.shape)
            raise ValueError(
                f"layer {layer} has shape {shape}, planned was {(units, values)}: build a new plan"
            )


def _stack(tensors: Sequence[Tensor], block: _Block) -> Tensor:
    """The sampled values of a block's layers, (layers, units, values), float32 or float64."""
    layers = [tensors[layer].detach().reshape(block.shape) for layer in block.layers]
    if block.units is not None:
        layers = [layer.index_select(0, block.units) for layer in layers]
    stacked = torch.stack(layers)
    return stacked if stacked.dtype in (torch.float32, torch.float64) else stacked.double()


class _Moments(NamedTuple):
    """Count, mean, sums of central powers, norms' sums: (layers, units) or, of whole layers, (layers, 1)."""

    number: Tensor
    mean: Tensor
    power2: Tensor
    power3: Tensor
    power4: Tensor
    absolute: Tensor
    square: Tensor


def _block_statistics(values: Tensor) -> Tensor:
    """(layers, units, values) -> (layers, 100, 12)."""
    ordered = _sort(values)
    missing = torch.isnan(values) if bool(torch.isnan(ordered[..., -1]).any()) else None
    units = _unit_moments(values, missing)
    layer = _layer_moments(units)
    around_layer = _around(_sort(ordered.flatten(1))[:, None], layer.number)
    around_units = _around(ordered, units.number)
    # From here on row 0 is the layer and rows 1-99 its units.
    moments = _Moments(*(torch.cat(pair, dim=1) for pair in zip(layer, units, strict=True)))
    low, high = (torch.cat(pair, dim=1) for pair in zip(around_layer, around_units, strict=True))
    percentiles = _interpolate(low, high, moments.number)
    features = _features(moments, percentiles, (low[..., 2] + high[..., 2]) / 2)
    quantiles = percentiles[:, : 1 + UNITS_WITH_QUANTILES].flatten(1)
    result = values.new_full((len(values), N_VALUES, N_FEATURES), torch.nan, dtype=torch.float64)
    result[:, : features.shape[1], :QUANTILE_COLUMN] = features
    result[:, : quantiles.shape[1], QUANTILE_COLUMN] = quantiles
    return result


def _sort(values: Tensor) -> Tensor:
    """Sort the last dimension, NaN last; on a CPU NumPy gives the same values ten times faster than torch."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.sort(values.numpy(), axis=-1))
    return torch.sort(values, dim=-1).values


def _unit_moments(values: Tensor, missing: Tensor | None) -> _Moments:
    """Moments of the units of (layers, units, values); `missing` is True at NaN, or None if there is none."""
    step = max(1, _CACHED_VALUES // values[0].numel()) if values.device.type == "cpu" else len(values)
    # Fresh memory for every power would cost more than its sum: two buffers serve them all.
    buffers = values.new_empty((2, min(step, len(values)), *values.shape[1:]), dtype=torch.float64)
    parts = []
    for start in range(0, len(values), step):
        part = slice(start, start + step)
        parts.append(_moments(values[part], None if missing is None else missing[part], buffers))
    return _Moments(*(torch.cat(same) for same in zip(*parts, strict=True)))


def _moments(values: Tensor, missing: Tensor | None, buffers: Tensor) -> _Moments:
    """The same for few layers; the mean is removed before any power is taken."""
    value, power = buffers[:, : len(values)]
    value.copy_(values)
    count = torch.full(values.shape[:2], values.shape[2], dtype=torch.float64, device=values.device)
    if missing is not None:
        count -= missing.sum(-1)
        value.masked_fill_(missing, 0.0)
    # The norms are of the values as they are; everything central comes after the mean is taken off.
    mean = value.sum(-1) / count
    absolute = torch.abs(value, out=power).sum(-1)
    square = torch.mul(value, value, out=power).sum(-1)
    value -= mean[..., None]
    # What is missing became minus the mean just now.
    if missing is not None:
        value.masked_fill_(missing, 0.0)
    power2 = torch.mul(value, value, out=power).sum(-1)
    power3 = value.mul_(power).sum(-1)
    power4 = power.mul_(power).sum(-1)
    return _Moments(count, mean, power2, power3, power4, absolute, square)


def _layer_moments(units: _Moments) -> _Moments:
    """Moments of the whole layer, (layers, 1): the units' own, shifted from their means to the layer's."""
    empty = units.number == 0
    total = units.number.sum(-1, keepdim=True)
    mean_of_units = units.mean.masked_fill(empty, 0.0)
    mean = (mean_of_units * units.number).sum(-1, keepdim=True) / total
    shift = (mean_of_units - mean).masked_fill(empty, 0.0)
    shift2 = shift * shift
    # Binomial expansion of the sums of (value - mean of the layer)^k; first powers about a unit's own mean sum to 0.
    power2 = units.power2 + units.number * shift2
    power3 = units.power3 + 3 * shift * units.power2 + units.number * shift2 * shift
    power4 = units.power4 + 4 * shift * units.power3 + 6 * shift2 * units.power2
    power4 = power4 + units.number * shift2 * shift2
    sums = (power2, power3, power4, units.absolute, units.square)
    return _Moments(total, mean, *(part.sum(-1, keepdim=True) for part in sums))


def _positions(count: Tensor) -> Tensor:
    """Where the five percentiles of so many sorted values lie, counted from 0, with fractions: (..., 5)."""
    shares = torch.tensor(QUANTILES, dtype=torch.float64, device=count.device)
    return (count - 1).clamp(min=0)[..., None] * shares


def _around(ordered: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """The values below and above each percentile, (..., 5) each, of sorted rows that have NaN last."""
    at = _positions(count)
    return ordered.gather(-1, at.floor().long()).double(), ordered.gather(-1, at.ceil().long()).double()


def _interpolate(low: Tensor, high: Tensor, count: Tensor) -> Tensor:
    """Percentiles from the values below and above them, linearly and as NumPy rounds it."""
    at = _positions(count)
    share = at - at.floor()
    step = high - low
    between = torch.where(share < 0.5, low + step * share, high - step * (1 - share))
    # The sign of a zero depends on the sorting routine; adding zero makes it positive.
    return torch.where(share == 0, low, between) + 0.0


def _features(moments: _Moments, percentiles: Tensor, median: Tensor) -> Tensor:
    """The first eleven features, stacked in their order (R6)."""
    count = moments.number
    nan = torch.full_like(count, torch.nan)
    variance = moments.power2 / count
    deviation = variance.sqrt()
    # SciPy's rule: spread within rounding of the mean has no shape.
    constant = variance <= (torch.finfo(torch.float64).eps * moments.mean) ** 2
    skewness = torch.where(constant, nan, moments.power3 / count / (variance * deviation))
    kurtosis = torch.where(constant, nan, moments.power4 / count / (variance * variance) - 3)
    covariance = torch.where(count < 2, nan, moments.power2 / (count - 1))
    l1 = torch.where(count == 0, nan, moments.absolute)
    l2 = torch.where(count == 0, nan, moments.square.sqrt())
    low, high = percentiles[..., 0], percentiles[..., -1]
    return torch.stack(
        (
            moments.mean,
            median + 0.0,
            variance,
            deviation,
            low,
            high,
            skewness,
            kurtosis,
            covariance,
            l1,
            l2,
        ),
        dim=-1,
    )
