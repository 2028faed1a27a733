"""What every table carries for comparison: how large a network is, which takes no data at all (R26)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from stages.baselines.method import Floats, Method, Prefix, Scorer, label_free
from stages.search_spaces.nasbench201.genotype import Genotype
from stages.search_spaces.nasbench201.layers import NetworkShape, flops, layers, parameters

Size = Callable[[Genotype, NetworkShape], int]


def _scorer(size: Size) -> Scorer:
    def score(prefix: Prefix) -> Floats:
        sizes = [size(Genotype.parse(text), prefix.shape) for text in prefix.architectures]
        return np.array(sizes, dtype=np.float64)

    return score


def _layers(genotype: Genotype, shape: NetworkShape) -> int:
    """Count convolutions and the classifier, unreachable ones too: what zero padding of a map shows."""
    return len(layers(genotype, shape))


_SIZES: Final[dict[str, Size]] = {"parameters": parameters, "FLOPs": flops, "layers": _layers}

REFERENCES: Final[tuple[Method, ...]] = tuple(
    Method(name=name, kind="reference", fit=label_free(_scorer(size)), source="R26", learned=False)
    for name, size in _SIZES.items()
)
"""`parameters`, `FLOPs` and `layers`; the fourth reference, cell trees, is in `cell_trees`."""
