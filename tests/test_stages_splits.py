"""Splits: stratified, nested, disjoint, repeatable; twins kept together where asked for; refusals (R19)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.labels.config import LabelsConfig
from stages.labels.table import read_table
from stages.search_spaces.config import ArchitecturesConfig
from stages.search_spaces.nasbench201.genotype import NUM_GENOTYPES, Genotype, canonical_form
from stages.search_spaces.sample import draw
from stages.settings import ConfigError, identity_settings
from stages.splits.config import SplitsConfig
from stages.splits.errors import SplitError
from stages.splits.split import Split, count_twins, histogram, split, strata

NAMES = [str(Genotype.from_number(number)) for number in range(NUM_GENOTYPES)]
SMALL: dict[str, object] = {"test_number": 20, "validation_number": 10, "sizes": "5 20 50 all", "trials": 4}
FOLDS: dict[str, object] = {"test": "folds", "sizes": "5 all"}
PROTOCOLS = [SMALL | {"test": "fixed"}, SMALL | {"test": "resampled"}, FOLDS | {"sizes": "5 20 50 all"}]
protocols = pytest.mark.parametrize("protocol", PROTOCOLS, ids=["fixed", "resampled", "folds"])
fast = settings(max_examples=25)


def plan(n: int) -> list[str]:
    """Of n architectures, many of them twins: the first edges are none, and little is connected."""
    return NAMES[:n]


def spread(n: int, seed: int = 0) -> dict[int, float]:
    """Accuracies from 0.1 to 0.95, in no order and denser towards the top."""
    values = 0.1 + 0.85 * np.random.default_rng(seed).permutation(np.linspace(0, 1, n)) ** 0.5
    return dict(enumerate(values.tolist()))


def all_trials(config: SplitsConfig, labels: dict[int, float], architectures: Sequence[str]) -> list[Split]:
    return [split(config, trial, labels, of(architectures)) for trial in range(config.num_trials)]


def trial(protocol: dict[str, object], n: int = 120, number: int = 0, **more: object) -> Split:
    return split(SplitsConfig(**(protocol | more)), number, spread(n), of(plan(n)))


@cache
def form(name: str) -> str:
    return canonical_form(Genotype.parse(name))


def of(architectures: Sequence[str]) -> list[str]:
    return list(map(form, architectures))


def forms(indices: Iterable[int], architectures: Sequence[str]) -> set[str]:
    return {form(architectures[i]) for i in indices}


@st.composite
def filled_bins(draw: st.DrawFn) -> dict[int, float]:
    """Labels whose bins hold ten or more, or none, so that each bin is a stratum; indices in no order."""
    counts = draw(st.dictionaries(st.integers(0, 19), st.integers(10, 60), min_size=3, max_size=12))
    values = [k / 20 + 0.02 for k, count in counts.items() for _ in range(count)]
    indices = draw(st.permutations(range(len(values))))
    return dict(zip(indices, values, strict=True))


def counts_by_bin(indices: Iterable[int], labels: dict[int, float]) -> Counter[float]:
    return Counter(labels[i] for i in indices)


def farthest_from_share(part: Sequence[int], whole: Iterable[int], labels: dict[int, float]) -> float:
    """How many architectures a part has too many or too few of some bin, against its share of a whole."""
    have, there = counts_by_bin(part, labels), counts_by_bin(whole, labels)
    number = sum(there.values())
    return max(abs(have[k] - len(part) * count / number) for k, count in there.items())


# --- the parts


@protocols
@fast
@given(n=st.integers(100, 200), gone=st.sets(st.integers(0, 99), max_size=10), seed=st.integers(0, 2**32 - 1))
def test_parts_are_disjoint_nested_and_of_the_size_asked_for(
    protocol: dict[str, object], n: int, gone: set[int], seed: int
) -> None:
    config = SplitsConfig(**(protocol | {"seed": seed}))
    labels = {i: label for i, label in spread(n).items() if i not in gone}
    drawn = split(config, 1, labels, of(plan(n)))
    largest = drawn.train["all"]
    everyone = [*drawn.test, *drawn.validation, *largest]
    assert sorted(everyone) == sorted(labels)  # each in one part: disjoint, and nothing left over
    assert [len(drawn.train[size]) for size in ("5", "20", "50")] == [5, 20, 50]
    assert set(drawn.train["5"]) < set(drawn.train["20"]) < set(drawn.train["50"]) < set(largest)
    if config.test != "folds":
        assert (len(drawn.test), len(drawn.validation)) == (20, 10)
    for part in (drawn.test, drawn.validation, *drawn.train.values()):
        assert list(part) == sorted(part)
        assert all(type(index) is int for index in part)
    assert (drawn.trial, drawn.seed) == (1, seed + 1)


@fast
@given(labels=filled_bins(), folds=st.integers(2, 7), seed=st.integers(0, 1000))
def test_folds_test_each_network_once_and_are_balanced(
    labels: dict[int, float], folds: int, seed: int
) -> None:
    config = SplitsConfig(test="folds", folds=folds, sizes="all", seed=seed)
    drawn = all_trials(config, labels, plan(len(labels)))
    assert sorted(i for each in drawn for i in each.test) == sorted(labels)
    sizes = [len(each.test) for each in drawn]
    assert max(sizes) - min(sizes) <= 1
    for value, count in counts_by_bin(labels, labels).items():
        tested = [counts_by_bin(each.test, labels)[value] for each in drawn]
        assert {count // folds, -(-count // folds)} >= set(tested)


@pytest.mark.parametrize(("n", "validation"), [(20, 2), (24, 2), (40, 4), (137, 14), (999, 100)])
def test_folds_validate_with_a_tenth(n: int, validation: int) -> None:
    assert len(trial(FOLDS, n).validation) == validation


@fast
@given(labels=filled_bins(), seed=st.integers(0, 1000))
def test_each_part_has_its_share_of_each_bin(labels: dict[int, float], seed: int) -> None:
    n = len(labels)
    test, validation, size = n // 5, n // 10, n // 3
    config = SplitsConfig(
        test_number=test, validation_number=validation, sizes=f"{size // 4} {size} all", seed=seed
    )
    drawn = split(config, 3, labels, of(plan(n)))
    assert farthest_from_share(drawn.test, labels, labels) < 1
    rest = set(labels) - set(drawn.test)
    assert farthest_from_share(drawn.validation, rest, labels) < 1
    pool = drawn.train["all"]
    assert max(farthest_from_share(part, pool, labels) for part in drawn.train.values()) < 1.5


def test_a_rare_bin_has_its_share_of_a_small_training_set() -> None:
    # 12 rare bins of 10 among 1,000: a set of 100 owes each of them one, which a plain draw often misses.
    values = [k / 20 + 0.02 for k in range(12) for _ in range(10)] + [0.92] * 880
    config = SplitsConfig(test_number=200, validation_number=100, sizes="100 700", trials=20)
    for drawn in all_trials(config, dict(enumerate(values)), plan(1000)):
        assert set(counts_by_bin(drawn.train["100"], dict(enumerate(values)))) == set(values)


def test_a_size_is_the_same_whatever_the_other_sizes_are() -> None:
    few, many = trial(SMALL, sizes="20"), trial(SMALL, sizes="all 5 6 7 20 21 50")
    assert few.train["20"] == many.train["20"]
    assert list(many.train) == ["all", "5", "6", "7", "20", "21", "50"]


def test_strata_owed_the_same_take_turns_over_the_trials() -> None:
    labels = {i: i // 20 / 20 + 0.02 for i in range(200)}
    config = SplitsConfig(test="resampled", test_number=15, validation_number=20, sizes="5", trials=20)
    tested = [each.test for each in all_trials(config, labels, plan(200))]
    config = SplitsConfig(test_number=20, validation_number=20, sizes="5", trials=20)
    trained = [each.train["5"] for each in all_trials(config, labels, plan(200))]
    for parts in (tested, trained):
        assert len({frozenset(counts_by_bin(part, labels).items()) for part in parts}) > 10


# --- trials


@protocols
def test_a_split_is_decided_by_seed_and_trial_not_by_the_order_of_labels(protocol: dict[str, object]) -> None:
    config, labels = SplitsConfig(**protocol), spread(120)
    backwards = dict(sorted(labels.items(), reverse=True))
    assert split(config, 2, backwards, of(plan(120))) == split(config, 2, labels, of(plan(120)))
    assert trial(protocol, seed=7) == trial(protocol, seed=7)
    assert trial(protocol, seed=7).test != trial(protocol, seed=8).test


@protocols
def test_training_and_validation_differ_between_trials(protocol: dict[str, object]) -> None:
    drawn = [trial(protocol, number=number) for number in range(4)]
    assert len({each.validation for each in drawn}) == 4
    assert len({each.train["20"] for each in drawn}) == 4


def test_the_fixed_test_set_is_one_and_the_resampled_are_many() -> None:
    fixed = [trial(SMALL, number=number).test for number in range(4)]
    resampled = [trial(SMALL, number=number, test="resampled").test for number in range(4)]
    assert len(set(fixed)) == 1
    assert len(set(resampled)) == 4
    more = trial(SMALL, validation_number=30, sizes="7", trials=9)
    assert more.test == fixed[0]  # what else is asked for does not move it


def test_everyone_can_be_tested_validated_and_trained() -> None:
    config = SplitsConfig(**(SMALL | {"test": "resampled", "trials": 150}))
    drawn = all_trials(config, spread(120), plan(120))
    for part in ([each.test for each in drawn], [each.validation for each in drawn]):
        assert set().union(*part) == set(range(120))
    assert set().union(*(each.train["20"] for each in drawn)) == set(range(120))


# --- strata and histogram


def at(*counts_by_lower_edge: tuple[int, int]) -> dict[int, float]:
    values = [(low + 2) / 100 for low, count in counts_by_lower_edge for _ in range(count)]
    return dict(enumerate(values))


@pytest.mark.parametrize(
    ("labels", "sizes"),
    [
        (at((10, 10), (50, 10), (90, 10)), [10, 10, 10]),
        (at((10, 3), (15, 12), (90, 20)), [15, 20]),  # a small one goes on with the next
        (at((10, 3), (15, 4), (20, 2), (80, 5), (90, 20)), [14, 20]),
        (at((10, 20), (90, 30), (95, 9)), [20, 39]),  # the last one joins the one below
        (at((10, 9), (90, 9)), [18]),
        (at((0, 25)), [25]),
    ],
)
def test_a_bin_too_small_joins_its_neighbour(labels: dict[int, float], sizes: list[int]) -> None:
    groups = strata(labels)
    assert [len(group) for group in groups] == sizes
    assert sorted(i for group in groups for i in group) == list(labels)
    assert [labels[i] for group in groups for i in group] == sorted(labels.values())


def test_edges_belong_to_the_bin_above_and_one_to_the_last() -> None:
    labels = dict(enumerate([k / 100 for k in range(101)]))  # as percentages become fractions
    counts = [count for _, _, count in histogram(labels)]
    assert counts == [5] * 19 + [6]


def test_the_histogram_has_twenty_bins_of_five_points() -> None:
    found = histogram({4: 0.1, 7: 0.12, 9: 0.937})
    assert len(found) == 20
    assert [low for low, _, _ in found] == [k / 20 for k in range(20)]
    assert all(math.isclose(high - low, 0.05) for low, high, _ in found)
    assert {(low, high): count for low, high, count in found if count} == {(0.1, 0.15): 2, (0.9, 0.95): 1}
    assert sum(count for _, _, count in histogram({})) == 0


# --- twins

# One convolution on the direct edge, or behind a skip over node 1, or with an edge that nothing reaches.
TWINS = (
    "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|",
    "|skip_connect~0|+|none~0|none~1|+|none~0|nor_conv_3x3~1|none~2|",
    "|none~0|+|none~0|nor_conv_1x1~1|+|nor_conv_3x3~0|none~1|none~2|",
)
OTHERS = (
    "|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|",
    "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|",
    "|none~0|+|none~0|none~1|+|avg_pool_3x3~0|none~1|none~2|",
)


def test_twins_of_test_architectures_in_train_are_counted_by_size() -> None:
    architectures = [*TWINS, *OTHERS]
    train = {"1": (4,), "2": (2, 4)}
    drawn = Split(trial=0, seed=0, train=train, validation=(5,), test=(0, 1, 3))
    assert count_twins(drawn, of(architectures)) == {"1": 0, "2": 2}


def assert_full(part: Sequence[int], number: int, left: Iterable[int], architectures: Sequence[str]) -> None:
    """A part is as large as it should be, or no class of twins that is left would have fitted."""
    classes = Counter(form(architectures[i]) for i in left)
    assert len(part) <= number < len(part) + min(classes.values(), default=number) or len(part) == number


@protocols
@fast
@given(n=st.integers(150, 250), among=st.integers(300, NUM_GENOTYPES), seed=st.integers(0, 99))
def test_twins_together_are_in_one_part(protocol: dict[str, object], n: int, among: int, seed: int) -> None:
    architectures = [NAMES[number] for number in np.random.default_rng(seed).permutation(among)[:n]]
    config = SplitsConfig(**(protocol | {"keep_twins_together": True, "seed": seed, "sizes": "5 20 all"}))
    labels = spread(n, seed)
    drawn = all_trials(config, labels, architectures)
    for each in drawn:
        train = each.train["all"]
        parts = [forms(part, architectures) for part in (each.test, each.validation, train)]
        assert sum(map(len, parts)) == len(set().union(*parts))
        assert set(count_twins(each, of(architectures)).values()) == {0}
        assert len(each.train["20"]) == 20
        assert {*each.test, *each.validation, *train} == set(labels)
        if config.test != "folds":
            assert_full(each.test, 20, (*each.validation, *train), architectures)
            assert_full(each.validation, 10, train, architectures)
    if config.test == "folds":
        assert sorted(i for each in drawn for i in each.test) == sorted(labels)


def test_without_it_twins_are_apart() -> None:
    assert trial(SMALL, keep_twins_together=True) != trial(SMALL)
    assert count_twins(trial(SMALL), of(plan(120)))["all"] > 0


def classes(*sizes: int) -> list[str]:
    """Architectures of as many classes of twins as there are sizes, one class after the other."""
    members: dict[str, list[str]] = {}
    for name in NAMES:
        members.setdefault(form(name), []).append(name)
    found = sorted(members.values(), key=len, reverse=True)
    assert all(len(twins) >= size for twins, size in zip(found, sorted(sizes, reverse=True), strict=False))
    by_size = dict(zip(sorted(range(len(sizes)), key=lambda k: -sizes[k]), found, strict=False))
    return [name for k, size in enumerate(sizes) for name in by_size[k][:size]]


def test_room_that_a_class_of_twins_cannot_fill_is_filled_from_others() -> None:
    # Of the low stratum's 12, all twins, test is owed 4: it takes none of them, and four more of the others.
    architectures, labels = classes(12, *[1] * 48), dict(enumerate([0.1] * 12 + [0.9] * 48))
    config = SplitsConfig(test_number=20, validation_number=5, sizes="10", keep_twins_together=True)
    for drawn in all_trials(config, labels, architectures):
        assert (len(drawn.test), len(drawn.validation)) == (20, 5)
        assert min(drawn.test) >= 12


@pytest.mark.parametrize("seed", range(5))
def test_folds_are_as_even_as_classes_of_twins_let_them_be(seed: int) -> None:
    config = SplitsConfig(test="folds", folds=2, sizes="all", keep_twins_together=True, seed=seed)
    architectures, labels = classes(16, *[1] * 24), dict.fromkeys(range(40), 0.9)
    assert [len(each.test) for each in all_trials(config, labels, architectures)] == [20, 20]
    # A class that is a stratum of its own takes nothing from its fold's share of the other strata.
    architectures, labels = classes(12, *[1] * 48), dict(enumerate([0.1] * 12 + [0.9] * 48))
    drawn = all_trials(config, labels, architectures)
    assert sorted(len(each.test) for each in drawn) == [24, 36]


@pytest.mark.parametrize("seed", range(5))
def test_a_class_of_twins_counts_where_most_of_it_is(seed: int) -> None:
    config = SplitsConfig(test="folds", folds=3, sizes="all", keep_twins_together=True, seed=seed)
    architectures, labels = classes(3, *[1] * 57), dict(enumerate([0.1] + [0.9] * 50 + [0.1] * 9))
    drawn = all_trials(config, labels, architectures)
    assert [sum(labels[i] == 0.1 for i in each.test if i) for each in drawn] == [3, 3, 3]


@pytest.mark.parametrize(
    ("settings", "sizes", "says"),
    [
        ({"test": "fixed"}, (40,), "0 architectures for test"),
        ({"test": "folds"}, (40,), "0 architectures for test"),
        ({"test": "fixed"}, (20, 30), "0 architectures for validation"),
        ({"test": "folds", "folds": 2}, (36, 2, 2), "0 architectures for train"),
    ],
)
def test_classes_of_twins_too_large_for_the_parts_are_refused(
    settings: dict[str, object], sizes: tuple[int, ...], says: str
) -> None:
    config = SplitsConfig(**(SMALL | {"sizes": "all", "keep_twins_together": True} | settings))
    labels = dict.fromkeys(range(sum(sizes)), 0.1)
    with pytest.raises(SplitError, match=rf"leaves {says}: the classes of twins are too large; set it to"):
        split(config, 0, labels, of(classes(*sizes)))


# --- refusals


@pytest.mark.parametrize(
    ("protocol", "n", "says"),
    [
        (SMALL, 19, "19 usable architectures cannot be split; collect 20 or more"),
        (FOLDS, 19, "19 usable architectures cannot be split; collect 20 or more"),
        (SMALL, 34, "34 usable architectures are fewer than the 35 that splits.test"),
        ({}, 349, "needs: 200 test, 100 validation and 50 train; collect more, or set splits.test"),
        ({}, 349, '"folds", which is for small experiments'),
        (SMALL, 79, 'splits.sizes: 50 is more than the 49 architectures that are left for training; those that'),
        (SMALL, 79, 'those that fit: "5 20 all"'),
        ({}, 999, '700 is more than the 699 architectures that are left for training; those that fit: "50 100'),
        (FOLDS | {"sizes": "50"}, 40, '28 architectures that are left for training; those that fit: "all"'),
        (FOLDS | {"folds": 21}, 40, "fewer than 2 of 40 architectures to a fold; use at most 20"),
    ],
)  # fmt: skip
def test_too_few_architectures_are_refused(protocol: dict[str, object], n: int, says: str) -> None:
    with pytest.raises(SplitError) as raised:
        trial(protocol, n)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("protocol", "n"), [(SMALL, 80), (SMALL | {"sizes": "5"}, 35), (FOLDS, 20), ({}, 1000), (FOLDS, 41)]
)
def test_as_many_as_are_needed_are_enough(protocol: dict[str, object], n: int) -> None:
    config = SplitsConfig(**protocol)
    assert len(all_trials(config, spread(n), plan(n))) == config.num_trials


def test_a_size_that_one_fold_has_no_room_for_is_refused_in_all_trials() -> None:
    # Of 41 in 5 folds, one trial tests 9 and the others 8; 4 validate.
    config = SplitsConfig(test="folds", sizes="29")
    for number in range(5):
        with pytest.raises(SplitError, match="29 is more than the 28"):
            split(config, number, spread(41), of(plan(41)))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, r"architecture 7 has no label \(None\); label it or leave it out"),
        (math.nan, r"architecture 7 has no label \(nan\)"),
        (-0.01, r"architecture 7 has label -0.01, outside \[0, 1\]; give accuracies as fractions"),
        (93.1, r"architecture 7 has label 93.1, outside"),
        (math.inf, "architecture 7 has label inf, outside"),
    ],
)
def test_a_label_that_is_missing_or_no_fraction_is_refused(value: float, says: str) -> None:
    labels = spread(120) | {7: value}
    with pytest.raises(SplitError, match=says):
        split(SplitsConfig(**SMALL), 0, labels, of(plan(120)))
    with pytest.raises(SplitError, match=says):
        histogram(labels)


@pytest.mark.parametrize("index", [120, -1])
def test_a_label_of_another_plan_is_refused(index: int) -> None:
    with pytest.raises(SplitError, match=f"label of architecture {index}, but the plan has 120"):
        split(SplitsConfig(**SMALL), 0, spread(120) | {index: 0.5}, of(plan(120)))


@pytest.mark.parametrize(("protocol", "number"), [(SMALL, 4), (FOLDS, 5), (SMALL, -1)])
def test_a_trial_that_there_is_not_is_refused(protocol: dict[str, object], number: int) -> None:
    with pytest.raises(SplitError, match=f"there is no trial {number}; choose one of 0 … "):
        trial(protocol, number=number)


@pytest.mark.parametrize(
    "parts",
    [
        {"train": {"2": (0, 1)}, "validation": (2,), "test": (1, 3)},
        {"train": {"2": (0, 1)}, "validation": (3,), "test": (3, 4)},
        {"train": {"2": (0, 1)}, "validation": (1,), "test": (3, 4)},
        {"train": {"1": (2,), "2": (0, 1)}, "validation": (3,), "test": (4,)},
        {"train": {"2": (1, 0)}, "validation": (3,), "test": (4,)},
        {"train": {"2": (0, 1)}, "validation": (3,), "test": (4, 4)},
    ],
)
def test_a_split_checks_itself(parts: dict[str, object]) -> None:
    with pytest.raises(SplitError, match="trial 3 is not ascending, nested and disjoint"):
        Split(trial=3, seed=45, **parts)


# --- settings


def test_the_defaults_are_the_papers() -> None:
    config = SplitsConfig()
    assert (config.test, config.test_number, config.validation_number) == ("fixed", 200, 100)
    assert config.train_sizes == ("50", "100", "200", "300", "400", "500", "600", "700")
    assert (config.seed, config.num_trials) == (42, 10)
    assert SplitsConfig(test="folds").num_trials == 5


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"sizes": ""}, "splits.sizes = '': name one or more, each once"),
        ({"sizes": "50 all 50"}, "name one or more, each once"),
        (
            {"sizes": "50,100"},
            "'50,100' is no train size; write positive numbers or all, separated by spaces",
        ),
        ({"sizes": "0"}, "'0' is no train size"),
        ({"sizes": "050"}, "'050' is no train size"),
        ({"sizes": "-5"}, "'-5' is no train size"),
        ({"sizes": "everything"}, "'everything' is no train size"),
        ({"sizes": "50\u0663"}, "is no train size"),
        ({"test": "random"}, "splits.test = 'random' is not one of 'fixed', 'resampled', 'folds'"),
        ({"folds": 1}, "below the smallest value allowed, 2"),
        ({"seed": -1}, "below the smallest value allowed, 0"),
        ({"trials": 0}, "below the smallest value allowed, 1"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        SplitsConfig(**wrong)
    assert says in str(raised.value)


def test_what_moves_no_trial_is_not_part_of_the_identity() -> None:
    names = set(identity_settings(SplitsConfig()))
    assert not names & {"splits.trials", "splits.allow_partial"}
    assert {"splits.test", "splits.seed", "splits.sizes", "splits.keep_twins_together"} <= names
    short, long = (trial(SMALL, number=1, trials=trials) for trials in (2, 9))
    assert short == long


# --- the real table


def test_the_papers_protocol_on_nasbench201(shared_data: Path) -> None:
    table = next(iter(sorted(shared_data.rglob("*201*.csv*"))), None)
    if table is None:
        pytest.skip(f"no NAS-Bench-201 table in {shared_data}")
    known = read_table(LabelsConfig(source="table", table=str(table), column="cifar10_test"))
    architectures = draw(ArchitecturesConfig(number=1000), known, "cifar10")
    labels = {index: known[name] for index, name in enumerate(architectures)}
    drawn = split(SplitsConfig(), 0, labels, of(architectures))
    assert (len(drawn.test), len(drawn.validation), len(drawn.train["700"])) == (200, 100, 700)
    for part in (drawn.test, drawn.validation, *drawn.train.values()):
        for group in strata(labels):
            assert abs(len(set(group) & set(part)) - len(part) * len(group) / 1000) < 2
    twins = count_twins(drawn, of(architectures))
    assert list(twins.values()) == sorted(twins.values())
    assert 0 < twins["50"] < twins["700"] < 150
    together = split(SplitsConfig(keep_twins_together=True), 0, labels, of(architectures))
    assert set(count_twins(together, of(architectures)).values()) == {0}
    assert (len(together.test), len(together.validation)) == (200, 100)
