"""What a cell tells by itself, as numbers, whatever its space: the input of cell trees (R26).

The number of vertices varies, so that no feature tells which vertex it speaks of: isomorphic cells have the same ones.
A space whose cells all have the same edges can do better, and overrides `SearchSpace.cell_features`. No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from stages.search_spaces.graph import INPUT, OUTPUT, CellForm, CellGraph, pruned


def graph_features(form: CellForm, graph: CellGraph, parameters: int, flops: int) -> dict[str, float]:
    """Describe a cell; only what is left after pruning counts.

    For each operation its count; edges, paths, and whether the input feeds the output itself; for each family of
    operations the shortest, the longest and the number of paths made of it alone, and the fewest, the most and the
    sum of its operations on paths; for each operation its edges out of the input, into the output, all in and all
    out; natural logarithms of parameters and FLOPs. Without a path a shortest one counts `vertices - 1`, all else 0.

    Args:
        form: Of the cells of the space.
        graph: The cell, pruned or not.
        parameters: Of the network built of it, at least 1.
        flops: Of the network built of it, at least 1.
    """
    cell = pruned(graph)
    paths = list(_paths(cell, len(cell.operations) - 1))
    features: dict[str, float] = {
        f"live_count_{operation}": cell.operations.count(operation) for operation in form.operations
    }
    features |= {"live_edges": len(cell.pairs), "live_paths": len(paths), "direct": cell.edges[0][-1]}
    for name, family in form.searched.items():
        features |= path_features(name, family, paths, form.vertices - 1)
    logarithms = {"log_parameters": math.log(parameters), "log_flops": math.log(flops)}
    return features | _degrees(form, cell) | logarithms


def path_features(
    name: str, family: frozenset[str], paths: Sequence[tuple[str, ...]], beyond: int
) -> dict[str, float]:
    """Tell of live paths which are made of some operations alone, and how many of those all of them have.

    Args:
        name: Of the family, in the features' names.
        family: The operations.
        paths: Operations of each live path.
        beyond: The shortest of no paths: more operations than any path has.
    """
    alone = [len(path) for path in paths if family.issuperset(path)]
    on_path = [sum(operation in family for operation in path) for path in paths]
    return {
        f"{name}_alone_shortest": min(alone, default=beyond),
        f"{name}_alone_longest": max(alone, default=0),
        f"{name}_alone_paths": len(alone),
        f"{name}_on_path_fewest": min(on_path, default=0),
        f"{name}_on_path_most": max(on_path, default=0),
        f"{name}_on_path_sum": sum(on_path),
    }


def _degrees(form: CellForm, cell: CellGraph) -> dict[str, float]:
    """By operation: edges to it from the input, from it to the output, and all that enter and leave it."""
    ends = [(cell.operations[source], cell.operations[target]) for source, target in cell.pairs]
    features: dict[str, float] = {}
    for operation in form.operations:
        features[f"input_out_degree_{operation}"] = ends.count((INPUT, operation))
        features[f"output_in_degree_{operation}"] = ends.count((operation, OUTPUT))
        features[f"in_degree_{operation}"] = sum(target == operation for _, target in ends)
        features[f"out_degree_{operation}"] = sum(source == operation for source, _ in ends)
    return features


def _paths(cell: CellGraph, vertex: int) -> Iterator[tuple[str, ...]]:
    """Yield the operations of each path from the input to a vertex, its own left out."""
    if vertex == 0:
        yield ()
    for source in range(vertex):
        if cell.edges[source][vertex]:
            own = (cell.operations[source],) if source else ()
            yield from ((*path, *own) for path in _paths(cell, source))
