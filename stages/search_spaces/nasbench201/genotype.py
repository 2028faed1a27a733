"""Architecture strings of NAS-Bench-201 and what they tell: number, isomorphism, reachability.

A cell has four nodes, 0 (input) to 3 (output), and one operation on each edge from a lower to a higher node
(Dong & Yang 2020). No torch here, so that plans and tables can be made without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from stages.search_spaces.errors import SpaceError

OPERATIONS: Final = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES: Final = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
"""(target, source) of each edge, in the order of the architecture string."""

OUTPUT_NODE: Final = 3
NUM_GENOTYPES: Final[int] = len(OPERATIONS) ** len(EDGES)
_EXAMPLE: Final = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"


class GenotypeError(SpaceError):
    """An architecture string, operation or number outside the NAS-Bench-201 space."""


@dataclass(frozen=True)
class Genotype:
    """One cell: the operations of its six edges, in the order of `EDGES`."""

    operations: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check number and names of the operations.

        Raises:
            GenotypeError: There are not six, or one is unknown.
        """
        if len(self.operations) != len(EDGES):
            raise GenotypeError(
                f"{self.operations!r} does not have {len(EDGES)} operations; give one for each edge"
            )
        for operation in self.operations:
            if operation not in OPERATIONS:
                raise GenotypeError(f"unknown operation {operation!r}; use one of {', '.join(OPERATIONS)}")

    @classmethod
    def parse(cls, text: str) -> Genotype:
        """Read an architecture string, such as `|none~0|+|none~0|none~1|+|none~0|none~1|none~2|`.

        Raises:
            GenotypeError: The string is malformed or names an unknown operation.
        """
        terms = [term for node in text.split("+") for term in node.strip("|").split("|")]
        operations = tuple(term.rpartition("~")[0] for term in terms)
        if len(operations) != len(EDGES) or _text(operations) != text:
            raise GenotypeError(f"malformed architecture string {text!r}; write it as {_EXAMPLE}")
        return cls(operations)

    def __str__(self) -> str:
        """Write the architecture string, the inverse of `parse`."""
        return _text(self.operations)

    @classmethod
    def from_number(cls, number: int) -> Genotype:
        """Build the genotype with a number in [0, 15625): base-5 digits, the first edge most significant.

        Raises:
            GenotypeError: The number is outside the space.
        """
        if not 0 <= number < NUM_GENOTYPES:
            raise GenotypeError(f"architecture number {number} is not in 0 … {NUM_GENOTYPES - 1}")
        base = len(OPERATIONS)
        powers = range(len(EDGES) - 1, -1, -1)
        return cls(tuple(OPERATIONS[number // base**power % base] for power in powers))

    @property
    def number(self) -> int:
        """The genotype's number, the inverse of `from_number`; not NAS-Bench-201's own index."""
        number = 0
        for operation in self.operations:
            number = number * len(OPERATIONS) + OPERATIONS.index(operation)
        return number


def all_genotypes() -> Iterator[Genotype]:
    """Yield the whole space of 15,625 genotypes, by number."""
    return map(Genotype.from_number, range(NUM_GENOTYPES))


def canonical_form(genotype: Genotype) -> str:
    """Return the expression that isomorphic cells share; the space has 6,466 of them (R19).

    A node is the sorted sum of its edges' expressions: a skip passes its source's expression on, `none` and
    an edge from a node that is exactly `#` give `#`. Isomorphic cells compute the same function, but they may
    differ in parameters and in unreachable layers.
    """
    nodes = ["0"]
    for target in range(1, OUTPUT_NODE + 1):
        terms = [
            _expression(operation, nodes[source])
            for operation, (node, source) in zip(genotype.operations, EDGES, strict=True)
            if node == target
        ]
        nodes.append("+".join(sorted(terms)))
    return nodes[OUTPUT_NODE]


def live_edges(genotype: Genotype) -> tuple[bool, ...]:
    """Tell which edges, none edges apart, have a path to the cell's output, in string order."""
    reaching = {OUTPUT_NODE}
    live = []
    # Backwards, each edge comes after all edges that leave its target.
    for operation, (target, source) in zip(reversed(genotype.operations), reversed(EDGES), strict=True):
        live.append(operation != "none" and target in reaching)
        if live[-1]:
            reaching.add(source)
    return tuple(reversed(live))


def is_connected(genotype: Genotype) -> bool:
    """Tell whether the cell's input reaches its output over edges other than none."""
    return any(live and source == 0 for live, (_, source) in zip(live_edges(genotype), EDGES, strict=True))


def _text(operations: tuple[str, ...]) -> str:
    terms = [f"{operation}~{source}|" for operation, (_, source) in zip(operations, EDGES, strict=True)]
    return f"|{terms[0]}+|{''.join(terms[1:3])}+|{''.join(terms[3:])}"


def _expression(operation: str, source: str) -> str:
    if operation == "none" or source == "#":
        return "#"
    return source if operation == "skip_connect" else f"({source})@{operation}"
