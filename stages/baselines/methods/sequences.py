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

from stages.baselines.method import Prefix, UnmetNeedError
from stages.search_spaces.graph import INPUT, OUTPUT, CellForm, CellGraph

Tokens = NDArray[np.int64]

NOTHING: Final = 0
"""Where a cell has no such vertex; also what a decoder begins with."""

NO_EDGE: Final = 1
EDGE: Final = 2
_FIRST_OPERATION: Final = 3


class SequenceError(ValueError):
    """A graph that does not fit its space, or a sequence that is not of a graph."""


@dataclass(frozen=True)
class Code:
    """How the graphs of one space are written.

    Attributes:
        form: Of the space's cells.
    """

    form: CellForm

    @property
    def vocabulary(self) -> int:
        """Tokens are 0 to one less."""
        return _FIRST_OPERATION + len(self._names)

    @property
    def length(self) -> int:
        """Tokens of a sequence."""
        return (self.form.vertices + 2) * (self.form.vertices - 1) // 2

    @property
    def _names(self) -> tuple[str, ...]:
        return (*self.form.operations, OUTPUT)

    def encode(self, graph: CellGraph) -> tuple[int, ...]:
        """Write a graph; what fewer vertices leave over is `NOTHING`.

        Raises:
            SequenceError: More vertices than the space has, or an operation that is none of its own.
        """
        if len(graph.operations) > self.form.vertices:
            raise SequenceError(f"{len(graph.operations)} vertices; the space has {self.form.vertices}")
        tokens: list[int] = []
        for vertex, operation in list(enumerate(graph.operations))[1:]:
            if operation not in self._names:
                raise SequenceError(f"unknown operation {operation!r}; use one of {', '.join(self._names)}")
            tokens += [EDGE if graph.edges[source][vertex] else NO_EDGE for source in range(vertex)]
            tokens.append(_FIRST_OPERATION + self._names.index(operation))
        return tuple(tokens) + (NOTHING,) * (self.length - len(tokens))

    def decode(self, sequence: Sequence[int]) -> CellGraph:
        """Read a graph, the inverse of `encode`.

        Raises:
            SequenceError: Wrong length, or a token where it does not belong.
        """
        if len(sequence) != self.length:
            raise SequenceError(f"{len(sequence)} tokens; the space has {self.length}")
        edges = np.zeros((self.form.vertices, self.form.vertices), dtype=bool)
        operations, start = [INPUT], 0
        for vertex in range(1, self.form.vertices):
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
        return CellGraph(tuple(tuple(map(bool, row[:n])) for row in edges[:n]), tuple(operations))


def sequences_of(prefix: Prefix) -> Tokens:
    """Return the (n, length) tokens of the cells.

    Raises:
        UnmetNeedError: The space has no cells.
    """
    graphs = prefix.graphs()
    code = code_of(prefix)
    return np.array([code.encode(graph) for graph in graphs], dtype=np.int64).reshape(-1, code.length)


def code_of(prefix: Prefix) -> Code:
    """Return how the cells of the prefix's space are written.

    Raises:
        UnmetNeedError: The space has no cells.
    """
    if prefix.space.cell_form is None:
        raise UnmetNeedError(f"search space {prefix.space.name} gives no graph of its cells, which it reads")
    return Code(prefix.space.cell_form)
