"""A cell as a graph with its operations at the vertices: the one form in which methods read cells of any space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from stages.search_spaces.errors import SpaceError

INPUT: Final = "input"
OUTPUT: Final = "output"


@dataclass(frozen=True)
class CellGraph:
    """A directed acyclic graph whose vertices are in topological order, the input first, the output last.

    Attributes:
        edges: For each vertex, whether an edge leads to each vertex.
        operations: Of each vertex.
    """

    edges: tuple[tuple[bool, ...], ...]
    operations: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check shapes, ends and order.

        Raises:
            SpaceError: One of them is wrong.
        """
        n = len(self.operations)
        if n < 2 or self.operations[0] != INPUT or self.operations[-1] != OUTPUT:
            raise SpaceError(
                f"operations {self.operations!r}: give at least two, {INPUT!r} first and {OUTPUT!r} last"
            )
        if [len(row) for row in self.edges] != [n] * n:
            raise SpaceError(f"edges of rows {self.edges!r} are not {n} x {n}, as the operations are")
        for source, row in enumerate(self.edges):
            if any(row[: source + 1]):
                raise SpaceError(f"edge from vertex {source} backwards: order the vertices topologically")

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Edges as pairs of vertices, source and target."""
        return [(i, j) for i, row in enumerate(self.edges) for j, there in enumerate(row) if there]


@dataclass(frozen=True, kw_only=True)
class CellForm:
    """What all cells of a space have in common.

    Attributes:
        vertices: At most, input and output among them.
        operations: Of the vertices between input and output.
        fixed_edges: All cells have the same edges, and differ in their operations alone.
        families: Operations that paths are searched for, by a name; by default each alone, and all of them.
    """

    vertices: int
    operations: tuple[str, ...]
    fixed_edges: bool = False
    families: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def searched(self) -> Mapping[str, frozenset[str]]:
        """The families, or the default ones."""
        alone = {operation: frozenset({operation}) for operation in self.operations}
        return self.families or alone | {"any": frozenset(self.operations)}


def pruned(graph: CellGraph) -> CellGraph:
    """Take away the vertices on no path from input to output; the two ends stay."""
    last = len(graph.operations) - 1
    from_input, to_output = {0}, {last}
    for source, target in graph.pairs:  # by source: all that enters a vertex comes before what leaves it
        if source in from_input:
            from_input.add(target)
    for source, target in reversed(graph.pairs):
        if target in to_output:
            to_output.add(source)
    kept = sorted(from_input & to_output | {0, last})
    edges = tuple(tuple(graph.edges[i][j] for j in kept) for i in kept)
    return CellGraph(edges, tuple(graph.operations[i] for i in kept))
