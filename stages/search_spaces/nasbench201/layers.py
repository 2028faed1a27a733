"""Layers, parameters and FLOPs of a NAS-Bench-201 network in closed form, without building it (R1, R23).

Parameters and FLOPs follow the conventions of the NAS-Bench-201 tables and agree with them for every row. No
torch here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Final

from stages.search_spaces.errors import SpaceError
from stages.search_spaces.nasbench201.genotype import EDGES, Genotype, is_connected, live_edges

NUM_STAGES: Final = 3
_KERNEL_AREAS: Final = {"nor_conv_1x1": 1, "nor_conv_3x3": 9}
_POOL_AREA: Final = 9


class ShapeError(SpaceError):
    """A network shape that cannot be built."""


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """Width, depth and interface of a network: everything about it that is not the cell."""

    channels: int
    cells_per_stage: int
    classes: int
    image_size: int
    input_channels: int = 3

    def __post_init__(self) -> None:
        """Check the shape.

        Raises:
            ShapeError: A value is not a positive whole number, or the image cannot be halved twice.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value < 1:
                raise ShapeError(f"{field.name} = {value!r} is not a whole number of at least 1")
        if self.image_size % 4:
            raise ShapeError(f"image_size = {self.image_size} is not a multiple of 4; pad or crop the images")

    @property
    def stages(self) -> tuple[tuple[int, int], ...]:
        """Channels and image side of each of the three stages."""
        return tuple((self.channels * 2**stage, self.image_size // 2**stage) for stage in range(NUM_STAGES))


@dataclass(frozen=True, kw_only=True)
class Layer:
    """The weight of one Conv2d or Linear.

    Attributes:
        name: Qualified name of the module in the built network.
        units: Output filters or neurons.
        values_per_unit: Weights of one unit.
        side: Height and width of the output, 1 for the classifier.
        reachable: Whether the layer has a path to the network's output (R23).
    """

    name: str
    units: int
    values_per_unit: int
    side: int
    reachable: bool

    @property
    def weights(self) -> int:
        """Number of weights."""
        return self.units * self.values_per_unit

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return self.weights * self.side**2


def edge_name(target: int, source: int) -> str:
    """Return the name of an edge's module within its cell."""
    return f"{target}<-{source}"


def layers(genotype: Genotype, shape: NetworkShape) -> tuple[Layer, ...]:
    """List every Conv2d and Linear weight in module registration order (R1), unreachable ones included (R23).

    Where a cell's input does not reach its output, nothing before the last cell has a path to the classifier.
    """
    return tuple(_layers(genotype, shape))


def max_layers(shape: NetworkShape) -> int:
    """Return the largest number of layers that any genotype gives: every edge a convolution."""
    in_cells = NUM_STAGES * shape.cells_per_stage * len(EDGES)
    in_reductions = 3 * (NUM_STAGES - 1)
    return 1 + in_cells + in_reductions + 1


def parameters(genotype: Genotype, shape: NetworkShape) -> int:
    """Count all trainable parameters: weights, BatchNorm scales and shifts, the classifier's bias."""
    convolutions = sum(operation in _KERNEL_AREAS for operation in genotype.operations)
    weights = sum(layer.weights for layer in _layers(genotype, shape))
    normalized = shape.channels + shape.stages[-1][0]
    normalized += sum(shape.cells_per_stage * convolutions * channels for channels, _ in shape.stages)
    normalized += sum(2 * channels for channels, _ in shape.stages[1:])
    return weights + 2 * normalized + shape.classes


def flops(genotype: Genotype, shape: NetworkShape) -> int:
    """Count the FLOPs of one image as the NAS-Bench-201 tables do.

    A multiply-accumulate counts 1, a pooled output its kernel's area, a ReLU 1 and a BatchNorm 2 per value;
    sums, skips and biases count nothing, unreachable operations count in full. The global pooling counts
    (side + 1)² per channel: the tables take its kernel to be one larger than it is, and so does this.
    """
    (channels, side), (last_channels, last_side) = shape.stages[0], shape.stages[-1]
    total = sum(layer.macs for layer in _layers(genotype, shape))
    total += 2 * channels * side**2
    total += sum(_cell_extras(genotype, *stage) for stage in shape.stages) * shape.cells_per_stage
    total += sum(_reduction_extras(*stage) for stage in shape.stages[:-1])
    return total + last_channels * (3 * last_side**2 + (last_side + 1) ** 2)


def _cell_extras(genotype: Genotype, channels: int, side: int) -> int:
    """FLOPs of a cell besides its multiply-accumulates: ReLU and BatchNorm of each convolution, pooling."""
    convolutions = sum(operation in _KERNEL_AREAS for operation in genotype.operations)
    pools = genotype.operations.count("avg_pool_3x3")
    return (3 * convolutions + _POOL_AREA * pools) * channels * side**2


def _reduction_extras(channels: int, side: int) -> int:
    """FLOPs of a reduction block besides its multiply-accumulates; channels and side are its input's."""
    before, after = channels * side**2, 2 * channels * (side // 2) ** 2
    first_relu, pooling = before, 4 * channels * (side // 2) ** 2
    second_relu, both_norms = after, 2 * 2 * after
    return first_relu + second_relu + both_norms + pooling


def _layers(genotype: Genotype, shape: NetworkShape) -> Iterator[Layer]:
    connected = is_connected(genotype)
    last_cell = NUM_STAGES * (shape.cells_per_stage + 1) - 2
    yield Layer(
        name="stem.conv",
        units=shape.channels,
        values_per_unit=9 * shape.input_channels,
        side=shape.image_size,
        reachable=connected,
    )
    index = 0
    for stage, (channels, side) in enumerate(shape.stages):
        if stage:
            yield from _reduction_layers(f"cells.{index}", channels, side, connected)
            index += 1
        for _ in range(shape.cells_per_stage):
            # Without a path through the cells only the last one's own convolutions can still reach the output.
            used = connected or index == last_cell
            yield from _cell_layers(genotype, f"cells.{index}", channels, side, used)
            index += 1
    width = shape.stages[-1][0]
    yield Layer(name="classifier", units=shape.classes, values_per_unit=width, side=1, reachable=True)


def _cell_layers(genotype: Genotype, cell: str, channels: int, side: int, used: bool) -> Iterator[Layer]:
    for operation, edge, live in zip(genotype.operations, EDGES, live_edges(genotype), strict=True):
        if operation in _KERNEL_AREAS:
            yield Layer(
                name=f"{cell}.edges.{edge_name(*edge)}.conv",
                units=channels,
                values_per_unit=channels * _KERNEL_AREAS[operation],
                side=side,
                reachable=live and used,
            )


def _reduction_layers(block: str, channels: int, side: int, used: bool) -> Iterator[Layer]:
    before = channels // 2
    inputs = {"conv_a.conv": 9 * before, "conv_b.conv": 9 * channels, "downsample.conv": before}
    for name, values in inputs.items():
        yield Layer(name=f"{block}.{name}", units=channels, values_per_unit=values, side=side, reachable=used)
