"""NAS-Bench-201 as a search space (Dong & Yang 2020): 15,625 cells, four nodes, five operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from stages.search_spaces.graph import INPUT, OUTPUT, CellForm, CellGraph
from stages.search_spaces.nasbench201 import layers
from stages.search_spaces.nasbench201.cell_features import FEATURES, PUBLISHED, cell_features
from stages.search_spaces.nasbench201.genotype import (
    EDGES,
    NUM_GENOTYPES,
    OPERATIONS,
    OUTPUT_NODE,
    Genotype,
    canonical_form,
)
from stages.search_spaces.nasbench201.layers import NetworkShape
from stages.search_spaces.space import EnumerableSpace, ImageTask, LayerSummary, NetworkSummary

if TYPE_CHECKING:
    from torch import nn

# Each as the edge it is: (target, source). The input ends at node 0, the output starts at the last node.
_VERTICES = [(0, -1), *EDGES, (OUTPUT_NODE + 1, OUTPUT_NODE)]
_LINE_GRAPH = tuple(tuple(target == source for _, source in _VERTICES) for target, _ in _VERTICES)


class NASBench201(EnumerableSpace):
    """The networks of NAS-Bench-201, everything about them in closed form.

    Args:
        channels: Of the first stage (paper: 16).
        cells_per_stage: Cells in each of the three stages (paper: 5).
    """

    name: ClassVar[str] = "nasbench201"
    cell_form: ClassVar[CellForm] = CellForm(vertices=len(EDGES) + 2, operations=OPERATIONS, fixed_edges=True)

    def __len__(self) -> int:
        """15,625."""
        return int(NUM_GENOTYPES)

    def architecture(self, number: int) -> str:
        """Return the string of a genotype's number, which is not NAS-Bench-201's own index."""
        return str(Genotype.from_number(number))

    def parse(self, text: str) -> str:
        """Check an architecture string."""
        return str(Genotype.parse(text))

    def shape(self, task: ImageTask) -> NetworkShape:
        """Return width, depth and interface of the networks."""
        return NetworkShape(
            channels=self.channels,
            cells_per_stage=self.cells_per_stage,
            classes=task.classes,
            image_size=task.image_size,
            input_channels=task.channels,
        )

    def build(self, architecture: str, task: ImageTask, seed: int) -> nn.Module:
        """Build the network; the global generator is neither read nor moved."""
        from stages.search_spaces.nasbench201.network import build_network

        return build_network(Genotype.parse(architecture), self.shape(task), seed)

    def summarize(self, architecture: str, task: ImageTask) -> NetworkSummary:
        """Return layers, parameters and FLOPs as the NAS-Bench-201 tables count them."""
        genotype, shape = Genotype.parse(architecture), self.shape(task)
        return NetworkSummary(
            layers=tuple(
                LayerSummary(name=each.name, units=each.units, reachable=each.reachable)
                for each in layers.layers(genotype, shape)
            ),
            parameters=layers.parameters(genotype, shape),
            flops=layers.flops(genotype, shape),
        )

    def max_layers(self, task: ImageTask) -> int:
        """Return the number of layers where every edge is a convolution."""
        return layers.max_layers(self.shape(task))

    def isomorphism_class(self, architecture: str) -> str:
        """Return one of the 6,466 expressions that isomorphic cells share (R19)."""
        return canonical_form(Genotype.parse(architecture))

    def graph(self, architecture: str) -> CellGraph:
        """Return the cell with its six operations at vertices, between input and output.

        One leads to another where it ends at the node that the other starts at; only operations differ between cells.
        """
        return CellGraph(_LINE_GRAPH, (INPUT, *Genotype.parse(architecture).operations, OUTPUT))

    def cell_features(self, architecture: str) -> Mapping[str, float]:
        """Return the 79 numbers of `cell_features.FEATURES`, of the published network."""
        genotype = Genotype.parse(architecture)
        costs = layers.parameters(genotype, PUBLISHED), layers.flops(genotype, PUBLISHED)
        return dict(zip(FEATURES, cell_features(genotype, *costs).tolist(), strict=True))

    def blocks(self, network: nn.Module) -> Sequence[nn.Module]:
        """Return the stem, then cells and reductions."""
        from stages.search_spaces.nasbench201.network import Network

        assert isinstance(network, Network)
        return (network.stem, *network.cells)

    def unroll(self, network: nn.Module) -> None:
        """Have no cell computed again in backward."""
        from stages.search_spaces.nasbench201.network import Network

        assert isinstance(network, Network)
        network.keeps_everything = True

    def separate_relus(self, network: nn.Module) -> None:
        """Give each convolution of a cell a ReLU of its own, as in the published code."""
        from stages.search_spaces.nasbench201.network import Network

        assert isinstance(network, Network)
        network.separate_relus()
