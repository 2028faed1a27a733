"""References of every table as methods: sizes of networks, and cell trees with and without zero-cost proxies."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.baselines.method import Method, Prefix, UnmetNeedError
from stages.baselines.methods.cell_trees import (
    APPENDED,
    CELL_TREES,
    CELL_TREES_WITH_PROXIES,
    MISSING,
    CellTrees,
    training_shares,
)
from stages.baselines.methods.references import REFERENCES
from stages.scoring.metrics import kendall
from stages.search_spaces.nasbench201.cell_features import cell_feature_matrix
from stages.search_spaces.nasbench201.genotype import NUM_GENOTYPES, Genotype
from stages.search_spaces.nasbench201.layers import flops, layers, parameters
from stages.search_spaces.nasbench201.space import NASBench201
from stages.search_spaces.space import ImageTask
from stages.zero_cost.columns import COLUMNS

Array = npt.NDArray[np.float64]

SPACE, TASK = NASBench201(4, 2), ImageTask(classes=100, image_size=16)
SHAPE = SPACE.shape(TASK)
TREES = [CELL_TREES, CELL_TREES_WITH_PROXIES]
NAMED = pytest.mark.parametrize("method", TREES, ids=lambda method: method.name)
NAN = np.nan


def prefix(numbers: npt.NDArray[np.int64]) -> Prefix:
    """Take cells by number; an architecture's proxies are drawn from its number alone, one in ten missing."""
    drawn = [np.random.default_rng(number) for number in numbers]
    values = np.array([generator.standard_cauchy(len(COLUMNS)) for generator in drawn])
    missing = np.array([generator.random(len(COLUMNS)) < 0.1 for generator in drawn])
    columns = np.where(missing, NAN, values)
    return Prefix(
        architectures=tuple(str(Genotype.from_number(int(number))) for number in numbers),
        space=SPACE,
        task=TASK,
        training_loss=np.empty((len(numbers), 0)),
        validation_accuracy=np.empty((len(numbers), 0)),
        epochs=np.empty(0),
        epoch_mini_batches=196,
        schedule_epochs=200,
        zero_cost={name: columns[:, i] for i, name in enumerate(COLUMNS)},
    )


NUMBERS = np.random.default_rng(0).permutation(NUM_GENOTYPES)
TRAIN, TEST = prefix(NUMBERS[:60]), prefix(NUMBERS[60:160])


def quality(of: Prefix) -> Array:
    """Score by FLOPs and SynFlow, standing in for accuracies: both inputs of the trees tell something."""
    proxy = np.nan_to_num(of.zero_cost["synflow"], nan=-1)
    complexity = np.array([flops(Genotype.parse(text), SHAPE) for text in of.architectures])
    return np.asarray(np.log(complexity) + np.arctan(proxy), np.float64)


def fitted(method: Method, labels: Array, of: Prefix = TEST, seed: int = 5) -> Array:
    return method.fit(TRAIN, labels, seed)(of)


def test_sizes_are_those_of_the_networks_trained() -> None:
    genotypes = [Genotype.parse(text) for text in TEST.architectures]
    expected = {
        "parameters": [parameters(genotype, SHAPE) for genotype in genotypes],
        "FLOPs": [flops(genotype, SHAPE) for genotype in genotypes],
        "layers": [len(layers(genotype, SHAPE)) for genotype in genotypes],
    }
    found = {method.name: method.fit(TRAIN, np.zeros(60), 0)(TEST).tolist() for method in REFERENCES}
    assert found == expected
    assert {(method.kind, method.learned, method.needs) for method in REFERENCES} == {
        ("reference", False, frozenset())
    }


def test_cell_trees_of_the_protocol_are_those_evaluated_so_far() -> None:
    trees = CellTrees.fit(cell_feature_matrix(TRAIN.architectures), quality(TRAIN), 5)
    expected = trees.predict(cell_feature_matrix(TEST.architectures))
    np.testing.assert_array_equal(fitted(CELL_TREES, quality(TRAIN)), expected)
    assert (CELL_TREES.name, CELL_TREES.kind, CELL_TREES.learned) == ("cell trees", "reference", True)


def test_proxies_add_what_the_cell_does_not_tell() -> None:
    alone, both = (kendall(fitted(method, quality(TRAIN)), quality(TEST)) for method in TREES)
    assert both > alone + 0.1
    assert (CELL_TREES_WITH_PROXIES.name, CELL_TREES_WITH_PROXIES.kind) == ("cell trees + zero-cost", "cell")


@NAMED
def test_a_score_does_not_depend_on_the_others_scored(method: Method) -> None:
    whole, labels = fitted(method, quality(TRAIN)), quality(TRAIN)
    numbers = NUMBERS[60:160]
    np.testing.assert_array_equal(fitted(method, labels, prefix(numbers[[40]])), whole[[40]])
    np.testing.assert_array_equal(fitted(method, labels, prefix(numbers[::-1])), whole[::-1])


@NAMED
def test_the_seed_repeats(method: Method) -> None:
    one, again, other = (fitted(method, quality(TRAIN), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


@NAMED
def test_permuted_labels_teach_nothing(method: Method) -> None:
    shuffles = np.random.default_rng(2)
    found = [kendall(fitted(method, shuffles.permutation(quality(TRAIN))), quality(TEST)) for _ in range(6)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(6) + 0.02


def test_proxies_that_are_not_there_are_asked_for() -> None:
    for of, train in ((TEST, replace(TRAIN, zero_cost={})), (replace(TEST, zero_cost={}), TRAIN)):
        with pytest.raises(UnmetNeedError, match="run --stage zero-cost"):
            CELL_TREES_WITH_PROXIES.fit(train, quality(TRAIN), 0)(of)


def test_closed_forms_are_not_appended_twice() -> None:
    assert set(COLUMNS) - set(APPENDED) == {"complexity"}
    assert CELL_TREES_WITH_PROXIES.columns == APPENDED


def test_shares_by_hand() -> None:
    training = {"a": np.array([3.0, 1.0, NAN, 2.0, 2.0]), "b": np.full(5, NAN)}
    columns = {"a": np.array([0.0, 1.0, 2.0, 2.5, 9.0, NAN]), "b": np.array([1.0] * 5 + [NAN])}
    found = training_shares(columns, training).T.tolist()
    assert found == [[0, 0.125, 0.5, 0.75, 1, MISSING], [0, 0, 0, 0, 0, MISSING]]


@given(st.lists(st.floats(allow_infinity=False), min_size=1), st.sampled_from([0.125, 2.0, 1024.0]))
def test_shares_know_the_order_and_no_unit(values: list[float], factor: float) -> None:
    training = np.array([-2.0, -1.0, 0.5, 3.0])
    one = training_shares({"a": np.array(values)}, {"a": training})[:, 0]
    assert ((one >= 0) & (one <= 1) | (one == MISSING)).all()
    assert np.array_equal(np.isnan(values), one == MISSING)
    with np.errstate(over="ignore"):
        scaled = training_shares({"a": np.array(values) * factor}, {"a": training * factor})[:, 0]
    np.testing.assert_array_equal(one, scaled)


def test_slow_libraries_wait_until_a_method_is_fitted() -> None:
    code = (
        "import sys; from stages.baselines.methods import references, cell_trees, zero_cost; "
        "sys.exit(bool({'sklearn', 'scipy', 'torch'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
