"""What every table carries for comparison: how large a network is, which takes no data at all (R26)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from stages.baselines.method import Method, Scorer, label_free
from stages.search_spaces.space import NetworkSummary


def _scorer(size: Callable[[NetworkSummary], int]) -> Scorer:
    return lambda prefix: np.array([size(network) for network in prefix.networks], dtype=np.float64)


_SIZES: Final[dict[str, Callable[[NetworkSummary], int]]] = {
    "parameters": lambda network: network.parameters,
    "FLOPs": lambda network: network.flops,
    # Convolutions and the classifier, unreachable ones too: what zero padding of a map shows.
    "layers": lambda network: len(network.layers),
}

REFERENCES: Final[tuple[Method, ...]] = tuple(
    Method(
        name=name,
        kind="reference",
        fit=label_free(_scorer(size)),
        source="size of the network",
        learned=False,
    )
    for name, size in _SIZES.items()
)
"""`parameters`, `FLOPs` and `layers`; the fourth reference, cell trees, is in `cell_trees`."""
