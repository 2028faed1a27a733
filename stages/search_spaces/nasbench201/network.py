"""The networks of NAS-Bench-201 (Dong & Yang 2020): stem, stages of cells, residual reductions, classifier.

Two things differ from the published code, neither of them in the function computed. What has no path to the
output is kept but never run (R23): `stages.training.loop` sets its gradients to zeros. And edges that leave
one node share its ReLU, which changes no output, only the order in which up to three gradients are summed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import reduce
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from stages.search_spaces.nasbench201.genotype import EDGES, OUTPUT_NODE, Genotype, is_connected, live_edges
from stages.search_spaces.nasbench201.layers import NUM_STAGES, NetworkShape, edge_name

ACTIVATION_BYTES: Final = 250_000_000
"""What the values kept for backward may take on a CPU before cells are computed again instead."""

_KERNEL_SIZES: Final = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}


def build_network(genotype: Genotype, shape: NetworkShape, seed: int) -> Network:
    """Build a network with PyTorch's default weights, drawn from the seed in registration order (R10).

    The weights are bit-equal to those of `torch.manual_seed(seed); Network(genotype, shape)`, but the global
    generator is neither read nor moved.
    """
    with torch.device("meta"):
        network = Network(genotype, shape)
    network.to_empty(device="cpu")
    _initialize(network, torch.Generator().manual_seed(seed))
    return network


class Network(nn.Module):
    """One network of the space; maps images (N, channels, side, side) to logits (N, classes).

    Running statistics of unreachable BatchNorms are not updated, and nothing computed depends on them.
    """

    def __init__(self, genotype: Genotype, shape: NetworkShape) -> None:
        """Register stem, cells and reductions in sequence, last BatchNorm, classifier."""
        super().__init__()
        self.shape = shape
        self.connected = is_connected(genotype)
        width = shape.stages[-1][0]
        self.stem = ConvNorm(shape.input_channels, shape.channels, 3)
        self.cells = nn.ModuleList(_cells(genotype, shape))
        self.norm = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.classifier = nn.Linear(width, shape.classes)
        self.keeps_everything = (
            False  # True: no cell is computed again in backward, where hooks would see it twice
        )

    def separate_relus(self) -> None:
        """Give each convolution of a cell a ReLU module of its own, as in the published code.

        The function is the same, and its gradients but for the order of their sums.
        """
        for cell in self.cells:
            if isinstance(cell, Cell):
                cell.separate_relus()

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits."""
        features = self._features(images) if self.connected else self._constant_features(images)
        features = self.relu(self.norm(features))
        pooled = functional.adaptive_avg_pool2d(features, 1).flatten(1)
        logits: Tensor = self.classifier(pooled)
        return logits

    def _features(self, images: Tensor) -> Tensor:
        features = _fast_layout(self.stem(_fast_layout(images)))
        again = self._recomputed(features) if torch.is_grad_enabled() else 0
        for position, cell in enumerate(self.cells):
            features = _recompute(cell, features) if position < again else cell(features)
        return features

    def _recomputed(self, features: Tensor) -> int:
        """How many of the first cells are computed again in backward, to keep a worker small on a CPU.

        The bits are the same. Only networks near the largest, at full size, are touched, and pay with time.
        """
        if self.keeps_everything or features.device.type != "cpu":
            return 0
        sizes, size = [], features.numel() * features.element_size()
        for cell in self.cells:
            size //= 1 if isinstance(cell, Cell) else 2  # a reduction halves what a tensor holds
            sizes.append(cell.kept * size if isinstance(cell, Cell) else 0)
        left, count = sum(sizes), 0
        while left > ACTIVATION_BYTES and count < len(sizes):
            left -= sizes[count]
            count += 1
        return count

    def _constant_features(self, images: Tensor) -> Tensor:
        """Run the last cell alone, from zeros: its input has no path to its output (R23)."""
        width, side = self.shape.stages[-1][0], images.shape[-1] // 2 ** (NUM_STAGES - 1)
        nothing = self.norm.weight.new_zeros(len(images), width, side, side)
        features: Tensor = self.cells[-1](_fast_layout(nothing))
        return features


class ConvNorm(nn.Module):
    """Convolution without bias, then BatchNorm; the ReLU that precedes them on an edge is the caller's."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        """Pad so that stride 1 keeps the side."""
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and normalize."""
        normalized: Tensor = self.norm(self.conv(x))
        return normalized


class Cell(nn.Module):
    """Four nodes joined by six edges; only edges with a path to the output are run."""

    def __init__(self, genotype: Genotype, channels: int) -> None:
        """Register the edges in string order, unreachable ones included, none edges not."""
        super().__init__()
        operations = dict(zip(EDGES, genotype.operations, strict=True))
        live = [edge for edge, is_live in zip(EDGES, live_edges(genotype), strict=True) if is_live]
        self.edges = nn.ModuleDict(
            {edge_name(*edge): _edge(name, channels) for edge, name in operations.items() if name != "none"}
        )
        self.kept = len(live) + len({source for _, source in live})  # tensors kept for backward, at most
        self._rectified = {edge for edge in live if operations[edge] in _KERNEL_SIZES}
        needed = {source for _, source in live} | {OUTPUT_NODE}
        self._incoming = {node: [edge for edge in live if edge[0] == node] for node in sorted(needed - {0})}

    def separate_relus(self) -> None:
        """Put a ReLU module before each convolution, and share none."""
        for edge in self._rectified:
            name = edge_name(*edge)
            self.edges[name] = nn.Sequential(nn.ReLU(), self.edges[name])
        self._rectified = set()

    def forward(self, x: Tensor) -> Tensor:
        """Compute the output node; a node without live inputs is zeros."""
        nodes, rectified = {0: x}, dict[int, Tensor]()
        for node, incoming in self._incoming.items():
            terms = [self._term(edge, nodes, rectified) for edge in incoming]
            nodes[node] = reduce(torch.add, terms) if terms else torch.zeros_like(x)
        return nodes[OUTPUT_NODE]

    def _term(self, edge: tuple[int, int], nodes: dict[int, Tensor], rectified: dict[int, Tensor]) -> Tensor:
        source, value = edge[1], nodes[edge[1]]
        if edge in self._rectified:
            if source not in rectified:
                rectified[source] = functional.relu(value)
            value = rectified[source]
        term: Tensor = self.edges[edge_name(*edge)](value)
        return term


class Reduction(nn.Module):
    """The residual block between stages: half the side, twice the channels."""

    def __init__(self, channels: int) -> None:
        """Take the channels of the input."""
        super().__init__()
        self.conv_a = ConvNorm(channels, 2 * channels, 3, stride=2)
        self.conv_b = ConvNorm(2 * channels, 2 * channels, 3)
        self.downsample = Downsample(channels)
        self.relu_a, self.relu_b = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Add the two strided paths."""
        main = self.conv_b(self.relu_b(self.conv_a(self.relu_a(x))))
        total: Tensor = self.downsample(x) + main
        return total


class Downsample(nn.Module):
    """The shortcut of a reduction block: average pooling, then a 1x1 convolution without BatchNorm."""

    def __init__(self, channels: int) -> None:
        """Take the channels of the input."""
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Pool and widen."""
        shortcut: Tensor = self.conv(functional.avg_pool2d(x, kernel_size=2, stride=2))
        return shortcut


def _cells(genotype: Genotype, shape: NetworkShape) -> list[nn.Module]:
    cells: list[nn.Module] = []
    for stage, (channels, _) in enumerate(shape.stages):
        if stage:
            cells.append(Reduction(channels // 2))
        cells.extend(Cell(genotype, channels) for _ in range(shape.cells_per_stage))
    return cells


def _edge(operation: str, channels: int) -> nn.Module:
    makers: dict[str, Callable[[], nn.Module]] = {
        "skip_connect": nn.Identity,
        "avg_pool_3x3": lambda: nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
    }
    if operation in _KERNEL_SIZES:
        return ConvNorm(channels, channels, _KERNEL_SIZES[operation])
    return makers[operation]()


def _recompute(module: nn.Module, x: Tensor) -> Tensor:
    """Run a module, keeping only its input; backward runs it again, without touching running statistics (R4)."""
    result: Tensor = checkpoint(
        module,
        x,
        use_reentrant=False,
        preserve_rng_state=False,  # nothing here draws
        context_fn=lambda: (nullcontext(), _running_statistics_left_alone(module)),
    )
    return result


@contextmanager
def _running_statistics_left_alone(module: nn.Module) -> Iterator[None]:
    norms = [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None  # r · 1 + batch · 0
    try:
        yield
    finally:
        for norm, (momentum, tracked) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, tracked


def _fast_layout(x: Tensor) -> Tensor:
    """Put images in channels-last order on a CPU, where that is measurably faster; all later values follow.

    The weights keep PyTorch's usual layout.
    """
    return x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x


def _initialize(network: nn.Module, generator: torch.Generator) -> None:
    """Write PyTorch's default initial values in registration order, drawing from the generator given."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
            if module.bias is not None:
                bound = 1 / math.sqrt(module.weight[0].numel())
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
