"""Zero-cost methods: stored columns as they are, aggregates of them, and what is said where there are none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from stages.baselines.method import Method, Prefix, UnmetNeedError
from stages.baselines.methods.rank_aggregation import AGGREGATES
from stages.baselines.methods.zero_cost import NAMES, ZERO_COST
from stages.search_spaces.nasbench201.genotype import Genotype
from stages.search_spaces.nasbench201.space import NASBench201
from stages.search_spaces.space import ImageTask
from stages.zero_cost.columns import COLUMNS

Array = npt.NDArray[np.float64]

SPACE, TASK = NASBench201(16, 5), ImageTask(classes=10, image_size=32)
NONE = np.empty(0)
METHODS = {method.name: method for method in ZERO_COST}


def prefix(count: int = 30) -> Prefix:
    generator = np.random.default_rng(0)
    return Prefix(
        architectures=tuple(str(Genotype.from_number(i)) for i in range(count)),
        space=SPACE,
        task=TASK,
        training_loss=np.empty((count, 0)),
        validation_accuracy=np.empty((count, 0)),
        epochs=NONE,
        epoch_mini_batches=196,
        schedule_epochs=200,
        zero_cost={name: generator.standard_normal(count) for name in COLUMNS},
    )


def taken(whole: Prefix, keep: list[int]) -> Prefix:
    return replace(
        whole,
        architectures=tuple(whole.architectures[i] for i in keep),
        zero_cost={name: values[keep] for name, values in whole.zero_cost.items()},
    )


def blanked(whole: Prefix, where: int, names: tuple[str, ...] = tuple(COLUMNS)) -> Prefix:
    """Take away the columns' values of one architecture."""
    hole = np.where(np.arange(len(whole.architectures)) == where, np.nan, 0.0)
    columns = {name: values + hole if name in names else values for name, values in whole.zero_cost.items()}
    return replace(whole, zero_cost=columns)


def scores(method: Method, of: Prefix) -> Array:
    return method.fit(of, np.zeros(len(of.architectures)), 0)(of)


def test_methods_are_the_columns_worth_a_row_and_all_aggregates() -> None:
    assert list(METHODS) == [*NAMES, *AGGREGATES]
    assert (
        " ".join(NAMES) == "SynFlow GradNorm SNIP NASWOT jacov PNorm"
    )  # indices of results count on the order
    assert " ".join(NAMES.values()) == "synflow grad_norm snip naswot jacov pnorm"
    assert set(NAMES.values()) <= set(COLUMNS)
    for method in ZERO_COST:
        assert method.kind == "zero-cost"
        assert method.needs == {"zero-cost"}
        assert not method.learned
        assert set(method.columns) <= set(COLUMNS)
        assert not method.follows_trace


@pytest.mark.parametrize("name", NAMES)
def test_a_column_is_the_score_missing_values_too(name: str) -> None:
    given = blanked(prefix(), 3)
    np.testing.assert_array_equal(scores(METHODS[name], given), given.zero_cost[NAMES[name]])


@pytest.mark.parametrize("name", AGGREGATES)
def test_an_aggregate_reads_its_own_columns_alone(name: str) -> None:
    given = prefix()
    own = replace(given, zero_cost={column: given.zero_cost[column] for column in METHODS[name].columns})
    found = scores(METHODS[name], own)
    np.testing.assert_array_equal(found, AGGREGATES[name].compute(given.zero_cost))
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_score_of_one_column_does_not_depend_on_the_others_scored(name: str) -> None:
    given, keep = prefix(), [7, 2, 29]
    np.testing.assert_array_equal(
        scores(METHODS[name], taken(given, keep)), scores(METHODS[name], given)[keep]
    )


@pytest.mark.parametrize("name", AGGREGATES)
def test_an_aggregate_ranks_among_those_given_in_whatever_order(name: str) -> None:
    given = prefix()
    order = np.random.default_rng(1).permutation(30).tolist()
    whole = scores(METHODS[name], given)
    np.testing.assert_allclose(scores(METHODS[name], taken(given, order)), whole[order])
    assert not np.allclose(scores(METHODS[name], taken(given, order[:10])), whole[order[:10]])


@pytest.mark.parametrize("name", AGGREGATES)
def test_an_aggregate_without_any_column_of_an_architecture_has_no_score_of_it(name: str) -> None:
    found = scores(METHODS[name], blanked(prefix(), 3))
    assert np.flatnonzero(np.isnan(found)).tolist() == [3]


@pytest.mark.parametrize("name", ["AZ-NAS", "VKDNW aggregate", "SPW"])
def test_one_missing_column_of_an_aggregate_ranks_lowest(name: str) -> None:
    given, column = prefix(), AGGREGATES[name].columns[-1]
    lowest = {**given.zero_cost, column: np.where(np.arange(30) == 3, -1e9, given.zero_cost[column])}
    np.testing.assert_array_equal(
        scores(METHODS[name], blanked(given, 3, (column,))),
        scores(METHODS[name], replace(given, zero_cost=lowest)),
    )


@pytest.mark.parametrize("name", METHODS)
def test_without_proxies_the_message_says_what_to_run(name: str) -> None:
    with pytest.raises(UnmetNeedError, match="run --stage zero-cost") as raised:
        scores(METHODS[name], replace(prefix(), zero_cost={}))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", METHODS)
def test_labels_and_seed_play_no_part(name: str) -> None:
    given = prefix()
    one = METHODS[name].fit(given, np.arange(30.0), 1)(given)
    np.testing.assert_array_equal(one, METHODS[name].fit(given, -np.arange(30.0), 2)(given))
