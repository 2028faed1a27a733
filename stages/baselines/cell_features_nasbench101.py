"""What a NAS-Bench-101 cell tells by itself, as numbers: cell trees outside NAS-Bench-201 (SPEC R26).

Here operations are on vertices and the number of vertices varies, so that no feature tells which vertex it speaks of:
isomorphic cells have the same ones. Names are those of `cell_features` where they say the same. No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from stages.baselines.cell_features import Floats, path_features
from storage_schema.errors import UserError

INPUT: Final = "input"
OUTPUT: Final = "output"
OPERATIONS: Final = ("conv1x1-bn-relu", "conv3x3-bn-relu", "maxpool3x3")
MAX_VERTICES: Final = 7

SUBSETS: Final[Mapping[str, frozenset[str]]] = {
    "conv1x1": frozenset({"conv1x1-bn-relu"}),
    "conv3x3": frozenset({"conv3x3-bn-relu"}),
    "weightless": frozenset({"maxpool3x3"}),
    "conv": frozenset({"conv1x1-bn-relu", "conv3x3-bn-relu"}),
    "conv1x1_or_pool": frozenset({"conv1x1-bn-relu", "maxpool3x3"}),
    "conv3x3_or_pool": frozenset({"conv3x3-bn-relu", "maxpool3x3"}),
    "any": frozenset(OPERATIONS),
}
"""All subsets of operations; an edge from input to output, which has none, is a path of each alone."""


class CellError(UserError, ValueError):
    """A cell outside NAS-Bench-101."""


@dataclass(frozen=True)
class Cell:
    """A cell: which vertex feeds which, and what each computes (Ying et al. 2019).

    Attributes:
        matrix: A row a vertex, input first and output last; 1 where it feeds a later vertex.
        operations: Of each vertex.
    """

    matrix: tuple[tuple[int, ...], ...]
    operations: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check shape, direction of edges and names.

        Raises:
            CellError: One of them is wrong.
        """
        count, ends = len(self.operations), (self.operations[:1], self.operations[-1:])
        if not 2 <= count <= MAX_VERTICES or ends != ((INPUT,), (OUTPUT,)):
            raise CellError(
                f"{self.operations!r}: give 2 to {MAX_VERTICES} operations, {INPUT!r} first and {OUTPUT!r} last"
            )
        for operation in self.operations[1:-1]:
            if operation not in OPERATIONS:
                raise CellError(f"unknown operation {operation!r}; use one of {', '.join(OPERATIONS)}")
        if [len(row) for row in self.matrix] != [count] * count:
            raise CellError(f"a matrix of rows {self.matrix!r} is not {count} x {count}, as operations are")
        for source, row in enumerate(self.matrix):
            if set(row) - {0, 1} or any(row[: source + 1]):
                raise CellError(
                    f"row {source}, {row!r}: a vertex feeds (1) later vertices only, others are 0"
                )

    @property
    def edges(self) -> list[tuple[int, int]]:
        """Pairs of vertices, source and target."""
        return [(i, j) for i, row in enumerate(self.matrix) for j, fed in enumerate(row) if fed]


def pruned(cell: Cell) -> Cell:
    """Take away the vertices on no path from input to output, as the benchmark does; the two ends stay."""
    last = len(cell.operations) - 1
    from_input, to_output = {0}, {last}
    for source, target in cell.edges:  # by source: all that enters a vertex comes before what leaves it
        if source in from_input:
            from_input.add(target)
    for source, target in reversed(cell.edges):
        if target in to_output:
            to_output.add(source)
    kept = sorted(from_input & to_output | {0, last})
    matrix = tuple(tuple(cell.matrix[i][j] for j in kept) for i in kept)
    return Cell(matrix, tuple(cell.operations[i] for i in kept))


def cell_features(cell: Cell, parameters: int, flops: int) -> Floats:
    """Describe a cell by the 62 numbers of `FEATURES`.

    Only what is left after pruning counts. Without a path a shortest one counts 6 operations, all else 0.

    Args:
        cell: The cell, pruned or not.
        parameters: Of the network built of it, at least 1.
        flops: Of the network built of it, at least 1.

    Returns:
        (62,), in the order of `FEATURES`.
    """
    return np.array(list(_features(pruned(cell), parameters, flops).values()), dtype=np.float64)


def cell_feature_matrix(cells: Sequence[Cell], parameters: Sequence[int], flops: Sequence[int]) -> Floats:
    """Describe n cells; returns (n, 62), columns in the order of `FEATURES`."""
    rows = [cell_features(*one) for one in zip(cells, parameters, flops, strict=True)]
    return np.array(rows, dtype=np.float64).reshape(len(cells), len(FEATURES))


def _features(cell: Cell, parameters: int, flops: int) -> dict[str, float]:
    paths = list(_paths(cell, len(cell.operations) - 1))
    features: dict[str, float] = {
        f"live_count_{operation}": cell.operations.count(operation) for operation in OPERATIONS
    }
    features |= {"live_edges": len(cell.edges), "live_paths": len(paths), "direct": cell.matrix[0][-1]}
    for name, subset in SUBSETS.items():
        features |= path_features(name, subset, paths, MAX_VERTICES - 1)
    return features | _degrees(cell) | {"log_parameters": math.log(parameters), "log_flops": math.log(flops)}


def _degrees(cell: Cell) -> dict[str, float]:
    """By operation: edges to it from the input, from it to the output, and all that enter and leave it."""
    ends = [(cell.operations[source], cell.operations[target]) for source, target in cell.edges]
    features: dict[str, float] = {}
    for operation in OPERATIONS:
        features[f"input_out_degree_{operation}"] = ends.count((INPUT, operation))
        features[f"output_in_degree_{operation}"] = ends.count((operation, OUTPUT))
        features[f"in_degree_{operation}"] = sum(target == operation for _, target in ends)
        features[f"out_degree_{operation}"] = sum(source == operation for source, _ in ends)
    return features


def _paths(cell: Cell, vertex: int) -> Iterator[tuple[str, ...]]:
    """Yield the operations of each path from the input to a vertex, its own left out."""
    if vertex == 0:
        yield ()
    for source in range(vertex):
        if cell.matrix[source][vertex]:
            own = (cell.operations[source],) if source else ()
            yield from ((*path, *own) for path in _paths(cell, source))


FEATURES: Final[tuple[str, ...]] = tuple(_features(Cell(((0, 0), (0, 0)), (INPUT, OUTPUT)), 1, 1))
"""Names of the 62 features.

For each operation its count (3); edges, paths, and whether the input feeds the output itself (3); for each of
`SUBSETS` the shortest, the longest and the number of paths made of it alone, and the fewest, the most and the sum of
its operations on paths (42); for each operation its edges out of the input, into the output, all in and all out (12);
natural logarithms of parameters and FLOPs (2).
"""
