"""Architectures as sequences of small numbers, and back: what SemiNAS reads and writes (Luo et al. 2020).

A sequence describes a directed acyclic graph with an operation at each vertex. For each vertex but the first, in
topological order, come one token for each vertex before it (is there an edge from it?) and the token of its
operation. The vertices of a NAS-Bench-101 cell are its own. Those of a NAS-Bench-201 cell, which has its operations on
edges, are the input, the six operations and the output; one leads to another where that starts at the node the
first ends at, so that only the six tokens of operations differ between cells. Lengths and vocabularies are those of
White et al. (2021). No torch here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.search_spaces.nasbench201.genotype import EDGES, OPERATIONS, OUTPUT_NODE, Genotype

Tokens = NDArray[np.int64]

NOTHING: Final = 0
"""Where a cell has no such vertex; also what a decoder begins with."""

NO_EDGE: Final = 1
EDGE: Final = 2
_FIRST_OPERATION: Final = 3
INPUT: Final = "input"
OUTPUT: Final = "output"


class SequenceError(ValueError):
    """A graph that does not fit its space, or a sequence that is not of a graph."""


@dataclass(frozen=True)
class Graph:
    """A cell: vertices in topological order, the input first, the output last.

    Attributes:
        edges: For each vertex, whether an edge leads to each vertex.
        operations: Of each vertex.
    """

    edges: tuple[tuple[bool, ...], ...]
    operations: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check shapes, ends and order.

        Raises:
            SequenceError: There is no path of vertices to write.
        """
        n = len(self.operations)
        if n < 2 or len(self.edges) != n or any(len(row) != n for row in self.edges):
            raise SequenceError(f"{n} operations need edges of {n} times {n} vertices, at least two")
        if self.operations[0] != INPUT or self.operations[-1] != OUTPUT:
            raise SequenceError(f"operations go from {INPUT} to {OUTPUT}, not {'|'.join(self.operations)}")
        if any(self.edges[source][target] for source in range(n) for target in range(source + 1)):
            raise SequenceError("an edge leads backwards; order the vertices")


@dataclass(frozen=True)
class Space:
    """How the graphs of one space are written.

    Attributes:
        vertices: At most, input and output among them.
        operations: Of vertices between input and output.
    """

    vertices: int
    operations: tuple[str, ...]

    @property
    def vocabulary(self) -> int:
        """Tokens are 0 to one less."""
        return _FIRST_OPERATION + len(self._names)

    @property
    def length(self) -> int:
        """Tokens of a sequence."""
        return (self.vertices + 2) * (self.vertices - 1) // 2

    @property
    def _names(self) -> tuple[str, ...]:
        return (*self.operations, OUTPUT)

    def encode(self, graph: Graph) -> tuple[int, ...]:
        """Write a graph; what fewer vertices leave over is `NOTHING`.

        Raises:
            SequenceError: More vertices than the space has, or an operation that is none of its own.
        """
        if len(graph.operations) > self.vertices:
            raise SequenceError(f"{len(graph.operations)} vertices; the space has {self.vertices}")
        tokens: list[int] = []
        for vertex, operation in list(enumerate(graph.operations))[1:]:
            if operation not in self._names:
                raise SequenceError(f"unknown operation {operation!r}; use one of {', '.join(self._names)}")
            tokens += [EDGE if graph.edges[source][vertex] else NO_EDGE for source in range(vertex)]
            tokens.append(_FIRST_OPERATION + self._names.index(operation))
        return tuple(tokens) + (NOTHING,) * (self.length - len(tokens))

    def decode(self, sequence: Sequence[int]) -> Graph:
        """Read a graph, the inverse of `encode`.

        Raises:
            SequenceError: Wrong length, or a token where it does not belong.
        """
        if len(sequence) != self.length:
            raise SequenceError(f"{len(sequence)} tokens; the space has {self.length}")
        edges = np.zeros((self.vertices, self.vertices), dtype=bool)
        operations, start = [INPUT], 0
        for vertex in range(1, self.vertices):
            *incoming, operation = sequence[start : start + vertex + 1]
            if set(sequence[start:]) == {NOTHING}:
                break
            valid = range(_FIRST_OPERATION, self.vocabulary)
            if operation not in valid or not set(incoming) <= {NO_EDGE, EDGE}:
                raise SequenceError(f"tokens {start} to {start + vertex} of {tuple(sequence)} are no vertex")
            edges[:vertex, vertex] = [token == EDGE for token in incoming]
            operations.append(self._names[operation - _FIRST_OPERATION])
            start += vertex + 1
        n = len(operations)
        return Graph(tuple(tuple(map(bool, row[:n])) for row in edges[:n]), tuple(operations))


NAS_BENCH_201: Final = Space(len(EDGES) + 2, OPERATIONS)
"""Sequences of 35 tokens, vocabulary 9."""

NAS_BENCH_101: Final = Space(7, ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3"))
"""Sequences of 27 tokens, vocabulary 7."""


def graph_of_genotype(genotype: Genotype) -> Graph:
    """Return a NAS-Bench-201 cell as a graph with its operations at vertices."""
    # Each as the edge it is: (target, source). The input ends at node 0, the output starts at the last node.
    vertices = [(0, -1), *EDGES, (OUTPUT_NODE + 1, OUTPUT_NODE)]
    edges = tuple(tuple(target == source for _, source in vertices) for target, _ in vertices)
    return Graph(edges, (INPUT, *genotype.operations, OUTPUT))


def genotype_of_graph(graph: Graph) -> Genotype:
    """Return the NAS-Bench-201 cell that a graph is.

    Raises:
        SequenceError: The graph's edges are not those of a NAS-Bench-201 cell.
        GenotypeError: The operations are not.
    """
    genotype = Genotype(graph.operations[1:-1])
    if graph != graph_of_genotype(genotype):
        raise SequenceError("the graph does not have the edges of a NAS-Bench-201 cell")
    return genotype


def graph_of_matrix(digits: str, operations: str) -> Graph:
    """Read a NAS-Bench-101 cell.

    Args:
        digits: 0 and 1 of the adjacency matrix, row by row; rows lead to columns.
        operations: Of the vertices, parted by `|`.

    Raises:
        SequenceError: They do not fit each other.
    """
    names = tuple(operations.split("|"))
    n = len(names)
    if len(digits) != n * n or not set(digits) <= {"0", "1"}:
        raise SequenceError(f"{n} operations need {n * n} digits 0 or 1, not {digits!r}")
    rows = [digits[start : start + n] for start in range(0, n * n, n)]
    return Graph(tuple(tuple(digit == "1" for digit in row) for row in rows), names)


def sequences_of(architectures: Sequence[str]) -> Tokens:
    """Return the (n, 35) tokens of NAS-Bench-201 architecture strings.

    Raises:
        GenotypeError: A string is malformed or names an unknown operation.
    """
    rows = [NAS_BENCH_201.encode(graph_of_genotype(Genotype.parse(text))) for text in architectures]
    return np.array(rows, dtype=np.int64).reshape(len(rows), NAS_BENCH_201.length)
