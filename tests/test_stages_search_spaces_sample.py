"""The sample of architectures: disjoint slices of one permutation, and the paper's spread of accuracies (R22)."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from stages.labels.config import LabelsConfig
from stages.labels.table import read_table
from stages.search_spaces.config import ArchitecturesConfig
from stages.search_spaces.nasbench201.genotype import NUM_GENOTYPES, Genotype
from stages.search_spaces.sample import draw
from stages.settings import ConfigError

NAMES = [str(Genotype.from_number(number)) for number in range(NUM_GENOTYPES)]


def sample(labels: dict[str, float] | None = None, data: str = "cifar10", **settings: object) -> list[str]:
    return draw(ArchitecturesConfig(**settings), labels, data)


@pytest.fixture(scope="module")
def spread() -> dict[str, float]:
    """Accuracies from 0.05 to 0.96, in no order."""
    values = np.random.default_rng(0).permutation(np.linspace(0.05, 0.96, NUM_GENOTYPES))
    return dict(zip(NAMES, values.tolist(), strict=True))


def test_slices_are_disjoint_and_made_of_the_space() -> None:
    slices = [set(sample(slice=part)) for part in range(4)]
    assert [len(part) for part in slices] == [1000] * 4
    assert not any(a & b for a, b in itertools.combinations(slices, 2))
    assert set().union(*slices) <= set(NAMES)


def test_the_paper_samples_of_different_slices_are_disjoint(spread: dict[str, float]) -> None:
    slices = [set(sample(spread, sample="paper", number=500, slice=part)) for part in range(4)]
    assert not any(a & b for a, b in itertools.combinations(slices, 2))


def test_a_sample_is_decided_by_its_seed_and_begins_a_larger_one() -> None:
    assert sample(number=50) == sample(number=80)[:50] == sample(number=50, seed=42)
    assert sample(number=50) != sample(number=50, seed=43)


def test_the_whole_space_can_be_drawn() -> None:
    assert sorted(sample(number=NUM_GENOTYPES)) == sorted(NAMES)


def test_what_the_table_lacks_is_not_drawn_and_slices_stay_disjoint() -> None:
    gone = set(sample(number=10))
    labels = {name: 0.5 for name in NAMES if name not in gone}
    drawn = [sample(labels, number=1000, slice=part) for part in range(2)]
    assert not gone & set(drawn[0])
    assert not set(drawn[0]) & set(drawn[1])
    assert set(drawn[0]) <= set(labels)


@pytest.mark.parametrize(
    ("known", "settings", "says"),
    [
        (7, {"number": 8}, "number = 8 is more than slice 0 holds; use at most 7"),
        (
            NUM_GENOTYPES,
            {"number": 1001, "slice": 1},
            "number = 1001 is more than slice 1 holds; use at most 1000",
        ),
        (1500, {"number": 600, "slice": 1}, "number = 600 is more than slice 1 holds; use at most 500"),
        (40, {"number": 11, "sample": "paper"}, "number = 11 is more than the pool's 10"),
    ],
)
def test_more_than_there_is_is_refused(known: int, settings: dict[str, object], says: str) -> None:
    labels = dict.fromkeys(NAMES[:known], 0.9)
    with pytest.raises(ConfigError) as raised:
        sample(labels, **settings)
    assert says in str(raised.value)


def test_the_papers_spread_needs_labels_beforehand() -> None:
    with pytest.raises(ConfigError, match=r'labels\.source = "table"'):
        sample(sample="paper")


def test_the_papers_shares_of_table_7(shared_data: Path) -> None:
    table = next(iter(sorted(shared_data.rglob("*201*.csv*"))), None)
    if table is None:
        pytest.skip(f"no NAS-Bench-201 table in {shared_data}")
    labels = read_table(LabelsConfig(source="table", table=str(table), column="cifar10_test"))
    accuracies = np.array([labels[name] for name in sample(labels, sample="paper")])
    counts, _ = np.histogram(accuracies, [0, 0.85, 0.92, 1])
    assert np.abs(counts - [400, 415, 185]).max() <= 3
    uniform = np.array([labels[name] for name in sample(labels)])
    assert np.mean(uniform < 0.85) < 0.25  # NAS-Bench-201 itself has 15 %


def test_equal_shares_of_bins_elsewhere(spread: dict[str, float]) -> None:
    drawn = sample(spread, "cifar100", sample="paper", number=900)
    counts, _ = np.histogram([spread[name] for name in drawn], np.arange(0.5, 0.951, 0.05))
    assert counts.tolist() == [100] * 9


def test_a_bin_too_small_is_filled_up_from_the_others(spread: dict[str, float]) -> None:
    low = {name: value / 2 for name, value in spread.items()}
    drawn = sample(low, sample="paper")
    assert len(set(drawn)) == 1000
