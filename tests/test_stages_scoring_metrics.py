"""Correlations against SciPy, resamples against repeated vectors, and what counts as beating (R20, R26)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stages.scoring.metrics import (
    ALL,
    UPPER_HALF,
    Comparison,
    TrialScores,
    agreements,
    compare,
    interval,
    kendall,
    resample_counts,
    resampled_kendall,
    spearman,
    summarise,
    top_k_recall,
    top_n_coverage,
    upper_half,
)

Array = npt.NDArray[np.float64]

# Few different values make ties; None is a missing score.
VALUES = st.sampled_from([-math.inf, -1.0, 0.0, 0.25, 0.5, 1e300, math.inf])
PAIRS = st.lists(st.tuples(VALUES | st.none(), st.sampled_from([0.1, 0.5, 0.7, 0.9])), max_size=30)


def columns(pairs: Sequence[tuple[float | None, float]]) -> tuple[Array, Array]:
    scores, labels = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    return scores, labels


def repeated(
    function: Callable[[Array, Array], float], scores: Array, labels: Array, counts: npt.NDArray[np.int64]
) -> list[float]:
    """The function of every resample, spelled out."""
    return [function(np.repeat(scores, row), np.repeat(labels, row)) for row in counts]


def one_trial(
    n: int = 80, seed: int = 0, noises: tuple[float, ...] = (0.2, 1.0), **scores: Array
) -> TrialScores:
    """Labels in [0, 1] and methods `m0`, `m1` … that are the labels with ever more noise."""
    draw = np.random.default_rng(seed)
    labels = draw.uniform(size=n)
    noisy = {f"m{i}": (labels + noise * draw.normal(size=n))[:, None] for i, noise in enumerate(noises)}
    return TrialScores(architectures=np.arange(n), labels=labels, scores=noisy | scores)


def verdict(trials: list[TrialScores], method: str, reference: str, resamples: int = 200) -> Comparison:
    """The comparison on all architectures at the first snapshot."""
    n = 1 + max(int(trial.architectures.max()) for trial in trials)
    found = agreements(trials, resample_counts(n, resamples, np.random.default_rng(1)))
    return compare(found, method, reference)[0]


@given(st.lists(st.tuples(VALUES, VALUES.filter(math.isfinite)), max_size=40))
def test_correlations_are_scipys(pairs: list[tuple[float, float]]) -> None:
    scores, labels = columns(pairs)
    if len(set(scores)) < 2 or len(set(labels)) < 2:
        assert math.isnan(kendall(scores, labels))
        assert math.isnan(spearman(scores, labels))
    else:
        assert kendall(scores, labels) == stats.kendalltau(scores, labels).statistic
        expected = np.corrcoef(stats.rankdata(scores), stats.rankdata(labels))[0, 1]
        assert spearman(scores, labels) == pytest.approx(expected, abs=1e-12)


@given(PAIRS, st.integers(0, 99))
def test_resamples_are_the_repeated_vectors(pairs: list[tuple[float | None, float]], seed: int) -> None:
    scores, labels = columns(pairs)
    counts = np.random.default_rng(seed).integers(0, 4, size=(12, len(pairs)))
    expected = repeated(kendall, scores, labels, counts)
    np.testing.assert_array_equal(resampled_kendall(scores, labels, counts), expected)


@pytest.mark.parametrize("factor", [0, 40])
def test_resamples_of_any_size_are_scipys_to_the_last_bit(factor: int) -> None:
    draw = np.random.default_rng(factor)
    labels = draw.normal(size=200).round(1)
    scores = labels + 0.1 * draw.normal(size=200)
    counts = resample_counts(200, 15, draw) + factor * draw.integers(0, 3, size=200)
    expected = repeated(lambda x, y: stats.kendalltau(x, y).statistic, scores, labels, counts)
    np.testing.assert_array_equal(resampled_kendall(scores, labels, counts), expected)


def test_a_missing_score_is_the_worst_one() -> None:
    labels = np.array([0.1, 0.3, 0.6, 0.9])
    for correlation in (kendall, spearman):
        assert correlation(np.array([np.nan, -5, 2, 3]), labels) == 1
        assert correlation(np.array([-np.inf, -5, 2, np.nan]), labels) < correlation(
            np.array([-np.inf, -5, 2, 1]), labels
        )
        both = correlation(np.array([np.nan, np.nan, 2, 3]), labels)
        assert both == correlation(np.array([0.0, 0, 2, 3]), labels) < 1


def test_failing_where_it_orders_wrongly_improves_nothing() -> None:
    labels, scores = np.linspace(0, 1, 50), np.linspace(0, 1, 50)
    scores[40:] = np.nan
    assert kendall(scores[:40], labels[:40]) == 1
    assert kendall(scores, labels) < 0.7


@pytest.mark.parametrize(
    "scores", [[], [0.5], [0.5] * 3, [np.nan] * 3, [np.nan, np.nan, 0.5], [np.nan, 0.5, 0.5], [np.inf] * 3]
)
def test_scores_that_order_nothing_have_no_correlation(scores: list[float]) -> None:
    values, labels = np.array(scores, dtype=np.float64), np.linspace(0.1, 0.9, len(scores))
    assert math.isnan(kendall(values, labels))
    assert math.isnan(spearman(values, labels))
    counts = np.ones((2, len(scores)), dtype=np.int64)
    assert np.isnan(resampled_kendall(values, labels, counts)).all()
    if scores:
        assert math.isnan(top_k_recall(values, labels, 1))


def test_equal_labels_have_no_correlation() -> None:
    scores, labels = np.arange(5.0), np.full(5, 0.1)
    assert math.isnan(kendall(scores, labels))
    assert math.isnan(spearman(scores, labels))


@pytest.mark.parametrize(
    ("labels", "upper"),
    [
        ([0.1, 0.9, 0.5], [False, True, True]),
        ([0.4, 0.1, 0.3, 0.2], [True, False, True, False]),
        ([0.1, 0.1, 0.1], [True, True, True]),
        ([], []),
    ],
)
def test_the_upper_half_reaches_down_to_the_median(labels: list[float], upper: list[bool]) -> None:
    assert upper_half(np.array(labels)).tolist() == upper


def test_recall_asks_for_the_best_and_coverage_for_the_best_n() -> None:
    labels = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    scores = np.array([0.5, 0.9, 0.1, 0.8, 0.6, np.nan])  # predicted order: 1 3 4 0 2 5
    assert [top_k_recall(scores, labels, k) for k in range(1, 7)] == [0, 0, 0, 1, 1, 1]
    assert top_n_coverage(scores, labels, 2) == 1 / 2
    assert top_n_coverage(scores, labels, 3) == pytest.approx(1 / 3)
    assert top_n_coverage(scores, labels, 3, 4) == pytest.approx(2 / 3)
    assert top_n_coverage(scores, labels, 6) == 1


def test_ties_are_broken_by_lot() -> None:
    labels = np.array([0.9, 0.9, 0.5, 0.4])
    assert top_k_recall(np.array([1.0, 0, 0, 0]), labels, 1) == 0.5
    assert top_k_recall(np.array([2.0, 1, 1, 1]), labels, 2) == pytest.approx((1 + 1 / 3) / 2)
    assert top_n_coverage(np.array([2.0, 1, 1, 1]), labels, 2) == pytest.approx((1 + 1 / 3) / 2)
    assert top_k_recall(np.array([np.nan, np.nan, 1, 2]), labels, 3) == 0.5


@pytest.mark.parametrize(("n", "k"), [(0, 1), (4, 1), (1, 0), (1, 4)])
def test_more_than_all_architectures_are_refused(n: int, k: int) -> None:
    with pytest.raises(ValueError, match="is not one of 1-3, the number of architectures"):
        top_n_coverage(np.arange(3.0), np.arange(3.0), n, k)


def test_resamples_have_the_size_of_the_sample_and_are_decided_by_the_generator() -> None:
    counts = resample_counts(50, 400, np.random.default_rng(3))
    assert counts.shape == (400, 50)
    assert (counts.sum(1) == 50).all()
    assert np.abs(counts.mean(0) - 1).max() < 0.25
    np.testing.assert_array_equal(counts, resample_counts(50, 400, np.random.default_rng(3)))


def test_the_interval_leaves_out_what_is_undefined() -> None:
    values = np.append(np.linspace(0, 1, 41), [np.nan] * 9)
    assert interval(values) == pytest.approx((0.025, 0.975))
    assert all(map(math.isnan, interval(np.full(3, np.nan))))
    assert all(map(math.isnan, interval(np.zeros(0))))


def test_the_interval_covers_the_true_value() -> None:
    draw, n, rho = np.random.default_rng(0), 100, 0.6
    truth, covered = 2 / math.pi * math.asin(rho), 0
    for _ in range(150):
        x, y = draw.normal(size=(2, n))
        taus = resampled_kendall(rho * x + math.sqrt(1 - rho**2) * y, x, resample_counts(n, 200, draw))
        low, high = interval(taus)
        covered += low <= truth <= high
    assert 0.89 <= covered / 150 <= 0.99


def test_identical_methods_differ_by_nothing() -> None:
    trials = [one_trial(seed=seed) for seed in range(3)]
    trials = [replace(trial, scores={**trial.scores, "copy": 2 * trial.scores["m1"]}) for trial in trials]
    same = verdict(trials, "m1", "copy")
    assert (same.difference, same.low, same.high) == (0, 0, 0)
    assert math.isnan(same.p_value)
    assert not same.beats
    assert not same.loses


def test_a_better_method_beats_a_worse_one_which_loses() -> None:
    trials = [one_trial(seed=seed) for seed in range(4)]
    better, worse = verdict(trials, "m0", "m1"), verdict(trials, "m1", "m0")
    assert better.beats
    assert not better.loses
    assert worse.loses
    assert not worse.beats
    mirrored = (-better.difference, -better.high, -better.low)
    assert (worse.difference, worse.low, worse.high) == pytest.approx(mirrored)
    taus = np.array([[kendall(t.scores[m][:, 0], t.labels) for t in trials] for m in ("m0", "m1")])
    assert better.difference == pytest.approx((taus[0] - taus[1]).mean())
    assert better.p_value == pytest.approx(stats.ttest_rel(*taus).pvalue)


def test_a_single_trial_has_no_test_and_no_deviation() -> None:
    trial = one_trial()
    assert math.isnan(verdict([trial], "m0", "m1").p_value)
    assert verdict([trial], "m0", "m1").beats
    found = summarise(agreements([trial], resample_counts(80, 50, np.random.default_rng(0))))
    assert all(math.isnan(row.kendall_std) and math.isnan(row.spearman_std) for row in found)


def test_permuted_labels_are_within_noise_of_nothing() -> None:
    n, draw = 200, np.random.default_rng(5)
    noise = math.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1)))
    trial = one_trial(n, noises=(0.1, 0.1))
    shuffled = replace(trial, labels=draw.permutation(trial.labels))
    counts = resample_counts(n, 300, draw)
    for row in summarise(agreements([shuffled], counts))[:2]:
        assert abs(row.kendall) < 3.5 * noise
        assert row.kendall_high - row.kendall_low == pytest.approx(3.92 * noise, rel=0.4)
    assert not verdict([shuffled], "m0", "m1").beats


def test_a_trial_takes_the_resamples_of_its_own_architectures() -> None:
    counts = resample_counts(60, 20, np.random.default_rng(2))
    chosen = [np.random.default_rng(seed).permutation(60)[:40] for seed in range(2)]
    trials = [replace(one_trial(40, seed), architectures=own) for seed, own in enumerate(chosen)]
    found = agreements(trials, counts)
    for part, members in ((ALL, trials), (UPPER_HALF, [trial.upper() for trial in trials])):
        each = [
            repeated(kendall, t.scores["m0"][:, 0], t.labels, counts[:, t.architectures]) for t in members
        ]
        np.testing.assert_allclose(found[part]["m0"].resampled[:, 0], np.mean(each, axis=0), rtol=1e-14)


def test_summaries_are_means_and_deviations_over_trials() -> None:
    trials = [one_trial(seed=seed) for seed in range(3)]
    rows = summarise(agreements(trials, resample_counts(80, 100, np.random.default_rng(0))))
    assert [(row.part, row.method) for row in rows] == [
        (ALL, "m0"),
        (ALL, "m1"),
        (UPPER_HALF, "m0"),
        (UPPER_HALF, "m1"),
    ]
    for row in rows:
        members = trials if row.part == ALL else [trial.upper() for trial in trials]
        taus, rhos = (
            [function(t.scores[row.method][:, 0], t.labels) for t in members]
            for function in (kendall, spearman)
        )
        assert (row.kendall, row.kendall_std) == pytest.approx((np.mean(taus), np.std(taus, ddof=1)))
        assert (row.spearman, row.spearman_std) == pytest.approx((np.mean(rhos), np.std(rhos, ddof=1)))
        assert row.kendall_low < row.kendall < row.kendall_high


def test_a_reference_without_snapshots_is_the_same_at_every_one() -> None:
    draw = np.random.default_rng(0)
    trial = one_trial(dynamics=draw.normal(size=(80, 3)))
    wide = replace(trial, scores={**trial.scores, "m0": np.repeat(trial.scores["m0"], 3, axis=1)})
    counts = resample_counts(80, 60, draw)
    narrow_rows, wide_rows = (summarise(agreements([t], counts)) for t in (trial, wide))
    assert len(narrow_rows) == 2 * 3 * 3
    assert list(map(repr, narrow_rows)) == list(map(repr, wide_rows))


def test_a_method_undefined_in_one_trial_is_undefined() -> None:
    trials = [one_trial(seed=seed, failing=np.full((80, 1), 0.5 if seed else np.nan)) for seed in range(2)]
    trials[1].scores["failing"][:40] = 0.1
    row = next(
        r
        for r in summarise(agreements(trials, resample_counts(80, 20, np.random.default_rng(0))))
        if r.method == "failing"
    )
    assert all(
        map(math.isnan, (row.kendall, row.kendall_std, row.kendall_low, row.kendall_high, row.spearman))
    )
    against = verdict(trials, "m0", "failing")
    assert all(map(math.isnan, (against.difference, against.low, against.high, against.p_value)))
    assert not against.beats
    assert not against.loses


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"architectures": np.arange(79)}, "architectures have labels of shape"),
        ({"architectures": np.zeros(80, dtype=np.int64)}, "must be different positions"),
        ({"architectures": np.arange(80) - 1}, "must be different positions"),
        ({"labels": np.full(80, np.nan)}, "every label must be finite"),
        (
            {"scores": {"a": np.zeros((80, 2)), "b": np.zeros((80, 3))}},
            r"a: shape \(80, 2\) is neither \(80, 3\)",
        ),
        ({"scores": {"a": np.zeros(80)}}, r"a: shape \(80,\) is neither"),
        ({"scores": {"a": np.zeros((79, 1))}}, r"a: shape \(79, 1\) is neither"),
    ],
)
def test_scores_that_do_not_fit_are_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(one_trial(), **change)


def test_trials_that_do_not_fit_together_are_refused() -> None:
    counts = resample_counts(80, 5, np.random.default_rng(0))
    with pytest.raises(ValueError, match="no trials"):
        agreements([], counts)
    with pytest.raises(ValueError, match="trial 1 has other methods or snapshots"):
        agreements([one_trial(), one_trial(noises=(1.0,))], counts)
    with pytest.raises(ValueError, match="trial 0 has architectures beyond the 80"):
        agreements([one_trial(81)], counts)
