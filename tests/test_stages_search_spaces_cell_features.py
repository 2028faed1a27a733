"""NAS-Bench-101 cells: features counted by hand, equal for isomorphic cells, and better than size at ordering them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.baselines.methods.cell_trees import CellTrees
from stages.scoring.metrics import kendall
from stages.search_spaces.cell_features import graph_features
from stages.search_spaces.errors import SpaceError
from stages.search_spaces.graph import INPUT, OUTPUT, CellForm, CellGraph, pruned
from stages.search_spaces.nasbench101.cell import FORM, graph_of_matrix

Array = npt.NDArray[np.float64]

THREE, ONE, POOL = OPERATIONS = FORM.operations
SUBSETS, MAX_VERTICES = FORM.families, FORM.vertices


def cell_features(of: CellGraph, parameters: int, flops: int) -> Array:
    return np.array(list(graph_features(FORM, of, parameters, flops).values()), dtype=np.float64)


def cell(edges: str, *inner: str) -> CellGraph:
    """Write edges as pairs of digits: "01 12" leads from the input over one vertex to the output."""
    count = len(inner) + 2
    pairs = {(int(pair[0]), int(pair[1])) for pair in edges.split()}
    edges = tuple(tuple((i, j) in pairs for j in range(count)) for i in range(count))
    return CellGraph(edges, (INPUT, *inner, OUTPUT))


def named(of: CellGraph) -> dict[str, float]:
    return graph_features(FORM, of, 1, 1)


@st.composite
def cells(draw: st.DrawFn) -> CellGraph:
    inner = draw(st.lists(st.sampled_from(OPERATIONS), max_size=MAX_VERTICES - 2))
    count = len(inner) + 2
    fed = st.booleans()
    edges = tuple(tuple(j > i and draw(fed) for j in range(count)) for i in range(count))
    return CellGraph(edges, (INPUT, *inner, OUTPUT))


@st.composite
def relabellings(draw: st.DrawFn) -> tuple[CellGraph, CellGraph]:
    """Draw a cell and the same with its vertices in another order in which edges go forward."""
    one, order = draw(cells()), [0]
    left = set(range(1, len(one.operations) - 1))
    while left:
        ready = [j for j in left if not any(one.edges[i][j] for i in left)]
        order.append(draw(st.sampled_from(ready)))
        left.remove(order[-1])
    order.append(len(one.operations) - 1)
    edges = tuple(tuple(one.edges[i][j] for j in order) for i in order)
    return one, CellGraph(edges, tuple(one.operations[i] for i in order))


# Paths: 3-1, 3-pool-1, pool-1, and the edge from input to output; vertex 4 leads nowhere.
BY_HAND = cell("01 02 12 13 23 35 05 04", THREE, POOL, ONE, THREE)
EXPECTED = {
    "live_count_conv1x1-bn-relu": 1,
    "live_count_conv3x3-bn-relu": 1,
    "live_count_maxpool3x3": 1,
    "live_edges": 7,
    "live_paths": 4,
    "direct": 1,
    "conv3x3_alone_shortest": 0,
    "conv3x3_alone_longest": 0,
    "conv3x3_alone_paths": 1,
    "conv3x3_on_path_sum": 2,
    "conv_alone_longest": 2,
    "conv_alone_paths": 2,
    "conv_on_path_fewest": 0,
    "conv_on_path_most": 2,
    "conv_on_path_sum": 5,
    "conv1x1_or_pool_alone_paths": 2,
    "any_alone_shortest": 0,
    "any_alone_longest": 3,
    "any_alone_paths": 4,
    "any_on_path_sum": 7,
    "input_out_degree_conv3x3-bn-relu": 1,
    "input_out_degree_maxpool3x3": 1,
    "input_out_degree_conv1x1-bn-relu": 0,
    "output_in_degree_conv1x1-bn-relu": 1,
    "in_degree_conv1x1-bn-relu": 2,
    "in_degree_maxpool3x3": 2,
    "out_degree_conv3x3-bn-relu": 2,
}


def test_features_counted_by_hand() -> None:
    features = named(BY_HAND)
    assert {name: features[name] for name in EXPECTED} == EXPECTED
    assert len(features) == 62


def test_the_logarithms_are_those_of_parameters_and_flops() -> None:
    assert cell_features(BY_HAND, 1000, 50)[-2:] == pytest.approx(np.log([1000, 50]))


def test_pruning_takes_dead_ends_and_vertices_without_input() -> None:
    assert pruned(BY_HAND) == cell("01 02 12 13 23 34 04", THREE, POOL, ONE)
    assert pruned(cell("02 23 13", ONE, THREE)) == cell("01 12", THREE)


def test_a_cell_without_a_path_has_nothing_but_the_shortest_of_none() -> None:
    features = named(cell("01 12", POOL, ONE))
    assert pruned(cell("01 12", POOL, ONE)) == cell("")
    assert {name: value for name, value in features.items() if value} == {
        f"{name}_alone_shortest": 6.0 for name in SUBSETS
    }


@given(relabellings())
def test_isomorphic_cells_have_the_same_features(pair: tuple[CellGraph, CellGraph]) -> None:
    one, other = (cell_features(each, 7, 9) for each in pair)
    np.testing.assert_array_equal(one, other)


@given(cells())
def test_what_pruning_takes_away_has_no_part_in_the_features(of: CellGraph) -> None:
    np.testing.assert_array_equal(cell_features(of, 7, 9), cell_features(pruned(of), 7, 9))
    assert pruned(pruned(of)) == pruned(of)


@given(cells())
def test_features_hold_together(of: CellGraph) -> None:
    features = named(of)
    assert features["any_alone_paths"] == features["live_paths"] >= features["direct"]
    entering = sum(features[f"in_degree_{operation}"] for operation in OPERATIONS)
    ending = sum(features[f"output_in_degree_{operation}"] for operation in OPERATIONS)
    assert entering + ending + features["direct"] == features["live_edges"]
    for name in SUBSETS:
        assert features[f"{name}_alone_paths"] <= features["live_paths"]
        assert features[f"{name}_on_path_fewest"] <= features[f"{name}_on_path_most"] <= 5
        shortest, longest = features[f"{name}_alone_shortest"], features[f"{name}_alone_longest"]
        assert (shortest <= longest) == (features[f"{name}_alone_paths"] > 0)


@pytest.mark.parametrize(
    ("digits", "operations", "message"),
    [
        ("0", "input", "at least two"),
        ("0100", "output|input", "'input' first"),
        ("010", "input|output", "4 digits"),
        ("0110", "input|output", "vertex 1 backwards"),
        ("0200", "input|output", "digits 0 or 1"),
    ],
)
def test_what_is_no_cell_is_refused(digits: str, operations: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        graph_of_matrix(digits, operations)


def test_families_that_are_not_named_are_each_operation_and_all() -> None:
    form = CellForm(vertices=4, operations=("a", "b"))
    features = graph_features(form, CellGraph(((False, True), (False, False)), (INPUT, OUTPUT)), 1, 1)
    assert {name.partition("_alone")[0] for name in features if "alone" in name} == {"a", "b", "any"}


PROXIES = ("synflow", "snip", "grad_norm")


@pytest.fixture(scope="module")
def rows(shared_data: Path) -> list[dict[str, str]]:
    with gzip.open(shared_data / "nasbench101.csv.gz", "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def parse(row: Mapping[str, str]) -> CellGraph:
    return graph_of_matrix(row["matrix_7x7"].zfill(49), row["ops"])  # the table has lost leading zeros


@dataclass(frozen=True)
class Sample:
    """The table: features, accuracies, and what else orders the cells."""

    features: Array
    labels: Array
    rivals: dict[str, Array]

    def taus(self, chosen: npt.NDArray[np.int64], tested: int) -> dict[str, list[float]]:
        """Train on the others of the cells chosen, five times over; τ by method, permuted labels too."""
        found: dict[str, list[float]] = {name: [] for name in ("cell trees", "permuted labels", *self.rivals)}
        for seed in range(42, 47):
            order = np.random.default_rng(seed).permutation(chosen)
            train, test = order[tested:], order[:tested]
            shuffled = np.random.default_rng(seed).permutation(self.labels[train])
            for name, taught in (("cell trees", self.labels[train]), ("permuted labels", shuffled)):
                scores = CellTrees.fit(self.features[train], taught, seed).predict(self.features[test])
                found[name].append(kendall(scores, self.labels[test]))
            for name, values in self.rivals.items():
                found[name].append(kendall(values[test], self.labels[test]))
        return found


@pytest.fixture(scope="module")
def sample(rows: list[dict[str, str]]) -> Sample:
    sizes = [np.array([round(1e6 * float(row[name])) for row in rows]) for name in ("params_m", "flops_m")]
    rivals = {name: np.array([float(row[name]) for row in rows]) for name in PROXIES}
    return Sample(
        features=np.array(
            [
                cell_features(parse(row), *map(int, pair))
                for row, pair in zip(rows, zip(*sizes, strict=True), strict=True)
            ]
        ),
        labels=np.array([float(row["val_acc"]) for row in rows]),
        rivals=rivals | {"parameters": sizes[0].astype(float), "FLOPs": sizes[1].astype(float)},
    )


def form(of: CellGraph) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return what isomorphic cells, pruned, share: the first of all ways to write them."""
    kept = pruned(of)
    last = len(kept.operations) - 1
    return min(
        (
            tuple(kept.operations[i] for i in order),
            tuple(kept.edges[i][j] for i in order for j in order),
        )
        for inner in permutations(range(1, last))
        for order in [(0, *inner, last)]
    )


def test_the_features_tell_all_different_real_cells_apart(rows: list[dict[str, str]], sample: Sample) -> None:
    """The 250 rows are 164 networks: what is pruned away, and the order of vertices, make the rest."""
    forms = [form(parse(row)) for row in rows]
    by_cell = {(form, *features[:-2]) for form, features in zip(forms, sample.features, strict=True)}
    assert len(set(forms)) == len(by_cell) == len(np.unique(sample.features[:, :-2], axis=0)) == 164


@pytest.mark.parametrize(("distinct", "tested"), [(True, 64), (False, 50)], ids=["without twins", "all"])
def test_trees_order_real_cells_better_than_size_and_proxies_do(
    sample: Sample, figure: Callable[[str], None], distinct: bool, tested: int
) -> None:
    """No network is trained; of twins only one is used, or the trees have seen a third of the tested cells."""
    chosen = np.arange(len(sample.labels))
    if distinct:
        chosen = np.unique(sample.features[:, :-2], axis=0, return_index=True)[1]
    found = sample.taus(chosen, tested)
    tau = {name: float(np.mean(values)) for name, values in found.items()}
    listed = ", ".join(f"{name} {tau[name]:.3f} ± {np.std(found[name], ddof=1):.3f}" for name in found)
    figure(f"NAS-Bench-101, {len(chosen) - tested} labels, {tested} tested, five splits, tau: {listed}")
    assert tau["cell trees"] > max(tau[name] for name in sample.rivals) + 0.15
    assert abs(tau["permuted labels"]) < 0.2
