"""Cells of NAS-Bench-101: their operations, and reading them from the benchmark's matrices."""

from __future__ import annotations

from typing import Final

from stages.search_spaces.errors import SpaceError
from stages.search_spaces.graph import CellForm, CellGraph

OPERATIONS: Final = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
_THREE, _ONE, _POOL = OPERATIONS

FORM: Final = CellForm(
    vertices=7,
    operations=OPERATIONS,
    families={
        "conv1x1": frozenset({_ONE}),
        "conv3x3": frozenset({_THREE}),
        "weightless": frozenset({_POOL}),
        "conv": frozenset({_ONE, _THREE}),
        "conv1x1_or_pool": frozenset({_ONE, _POOL}),
        "conv3x3_or_pool": frozenset({_THREE, _POOL}),
        "any": frozenset(OPERATIONS),
    },
)
"""All sets of operations are families; an edge from input to output, which has none, is a path of each alone."""


def graph_of_matrix(digits: str, operations: str) -> CellGraph:
    """Read a cell.

    Args:
        digits: 0 and 1 of the adjacency matrix, row by row; rows lead to columns.
        operations: Of the vertices, parted by `|`.

    Raises:
        SpaceError: They do not fit each other.
    """
    names = tuple(operations.split("|"))
    n = len(names)
    if len(digits) != n * n or not set(digits) <= {"0", "1"}:
        raise SpaceError(f"{n} operations need {n * n} digits 0 or 1, not {digits!r}")
    rows = [digits[start : start + n] for start in range(0, n * n, n)]
    return CellGraph(tuple(tuple(digit == "1" for digit in row) for row in rows), names)
