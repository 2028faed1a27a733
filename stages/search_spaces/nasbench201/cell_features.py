"""What a NAS-Bench-201 cell tells by itself, as numbers: the input of cell trees (R26).

Nothing here looks at data, weights or training, and by default nothing depends on an experiment's network: a
cell has the same features in the source and the target of a transfer. No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.search_spaces.cell_features import path_features
from stages.search_spaces.nasbench201 import layers
from stages.search_spaces.nasbench201.genotype import EDGES, OPERATIONS, OUTPUT_NODE, Genotype
from stages.search_spaces.nasbench201.layers import NetworkShape

Floats = NDArray[np.float64]

PUBLISHED: Final = NetworkShape(channels=16, cells_per_stage=5, classes=10, image_size=32)
"""The network whose parameters and FLOPs describe a cell: NAS-Bench-201's for CIFAR-10."""

SUBSETS: Final[Mapping[str, frozenset[str]]] = {
    "skip": frozenset({"skip_connect"}),
    "conv3x3": frozenset({"nor_conv_3x3"}),
    "conv": frozenset({"nor_conv_1x1", "nor_conv_3x3"}),
    "weightless": frozenset({"skip_connect", "avg_pool_3x3"}),
    "unpooled": frozenset({"skip_connect", "nor_conv_1x1", "nor_conv_3x3"}),
}
"""Operations that paths are searched for: identity, 3x3 and any convolution, no weights, no pooling."""

_PRESENT: Final = OPERATIONS[1:]  # without none, which is no connection
# The shortest of no paths: longer than any, so that thresholds keep the order.
_BEYOND: Final = OUTPUT_NODE + 1


def cell_features(genotype: Genotype, parameters: int, flops: int) -> Floats:
    """Describe a cell by the 79 numbers of `FEATURES` (docs/specification.md, "Cell trees").

    A live path goes from the cell's input to its output and has no none edge; a disconnected cell has none,
    and then a shortest path counts 4 edges, everything else about paths 0.

    Args:
        genotype: The cell.
        parameters: Of the network built of it, at least 1.
        flops: Of the network built of it, at least 1.

    Returns:
        (79,), in the order of `FEATURES`.
    """
    return np.array(list(_features(genotype, parameters, flops).values()), dtype=np.float64)


def cell_feature_matrix(architectures: Sequence[str], shape: NetworkShape = PUBLISHED) -> Floats:
    """Describe the cells of architecture strings.

    Args:
        architectures: n architecture strings.
        shape: The network whose parameters and FLOPs are taken; one and the same for source and target.

    Returns:
        (n, 79), columns in the order of `FEATURES`.

    Raises:
        GenotypeError: A string is malformed or names an unknown operation.
    """
    genotypes = map(Genotype.parse, architectures)
    rows = [
        cell_features(cell, layers.parameters(cell, shape), layers.flops(cell, shape)) for cell in genotypes
    ]
    return np.array(rows, dtype=np.float64).reshape(len(architectures), len(FEATURES))


def _features(genotype: Genotype, parameters: int, flops: int) -> dict[str, float]:
    operations = genotype.operations
    routes = [route for route in _ROUTES if all(operations[index] != "none" for index in route)]
    paths = [tuple(operations[index] for index in route) for route in routes]
    # Narrower than `live_edges`, which also holds edges of paths that do not start at the input.
    live = set[int]().union(*routes)
    features = _one_hot(genotype)
    for operation in _PRESENT:
        features[f"count_{operation}"] = operations.count(operation)
        features[f"live_count_{operation}"] = sum(operations[index] == operation for index in live)
    features["live_paths"] = len(paths)
    for name, subset in SUBSETS.items():
        features |= path_features(name, subset, paths, _BEYOND)
    logarithms = {"log_parameters": math.log(parameters), "log_flops": math.log(flops)}
    return features | _degrees(genotype) | logarithms


def _one_hot(genotype: Genotype) -> dict[str, float]:
    return {
        f"{layers.edge_name(*edge)}={operation}": float(chosen == operation)
        for edge, chosen in zip(EDGES, genotype.operations, strict=True)
        for operation in OPERATIONS
    }


def _degrees(genotype: Genotype) -> dict[str, float]:
    """Edges of each operation that leave the cell's input and that enter its output."""
    features: dict[str, float] = {}
    for operation in _PRESENT:
        ends = [edge for edge, chosen in zip(EDGES, genotype.operations, strict=True) if chosen == operation]
        features[f"input_out_degree_{operation}"] = sum(source == 0 for _, source in ends)
        features[f"output_in_degree_{operation}"] = sum(target == OUTPUT_NODE for target, _ in ends)
    return features


def _routes(node: int) -> Iterator[tuple[int, ...]]:
    """Yield the paths from the cell's input to a node, as positions in `EDGES`."""
    if node == 0:
        yield ()
    for index, (target, source) in enumerate(EDGES):
        if target == node:
            yield from ((*route, index) for route in _routes(source))


_ROUTES: Final = tuple(_routes(OUTPUT_NODE))

FEATURES: Final[tuple[str, ...]] = tuple(_features(Genotype(("none",) * len(EDGES)), 1, 1))
"""Names of the 79 features.

One-hot operation of each edge (30); for each operation but none its count in the cell and on the edges of live
paths (8); the number of live paths (1); for each of `SUBSETS` the shortest, the longest and the number of live
paths made of it alone, and the fewest, the most and the sum of its operations on live paths (30); for each
operation but none its edges out of the input and into the output (8); natural logarithms of parameters and
FLOPs (2).
"""
