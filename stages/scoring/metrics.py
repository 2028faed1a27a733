"""How well scores order architectures by their labels, and whether one method does it better than another (R20, R26).

Higher scores mean better. Three rules hold everywhere:

* A missing score (NaN: the network diverged, the proxy failed) ranks below every other score and is tied with the
  other missing ones; leaving such networks out would improve the correlation of a method that fails on the hard ones.
* A method that gives no two different scores has ordered nothing: NaN, never 0, and missing scores do not turn a
  constant into an order. Equal labels give NaN too. NaN is passed on by means over trials.
* Methods are compared on the same resamples of architectures: `resample_counts` is drawn once for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

ALL = "all"
UPPER_HALF = "upper half"
ACCURACY_BIN = 5  # points of accuracy in a bin of a sample's histogram, as in splits (R19)

# Integers are exact in float32 up to 2**24; what is summed below is at most the square of a resample's size.
_EXACT_IN_FLOAT32 = 1 << 12
# Differences of τ that vary less than this over trials are one number: there is nothing to test.
_NO_SPREAD = 1e-12

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrialScores:
    """What every method said of one trial's test architectures.

    Attributes:
        architectures: (n,) positions among all architectures that resamples are drawn of, each once.
        labels: (n,) accuracies, all finite.
        scores: By method, (n, snapshots), or (n, 1) where the score does not depend on the snapshot.
    """

    architectures: NDArray[np.int64]
    labels: Floats
    scores: Mapping[str, Floats]

    def __post_init__(self) -> None:
        """Check shapes and values.

        Raises:
            ValueError: Shapes that do not fit, an architecture that is there twice, or a label that is not finite.
        """
        n = len(self.labels)
        if self.architectures.shape != (n,) or self.labels.shape != (n,):
            raise ValueError(
                f"{self.architectures.shape} architectures have labels of shape {self.labels.shape}"
            )
        if len(np.unique(self.architectures)) != n or (n and self.architectures.min() < 0):
            raise ValueError("architectures must be different positions from 0 on")
        if not np.isfinite(self.labels).all():
            raise ValueError("every label must be finite; leave out architectures without a label")
        for method, scores in self.scores.items():
            if scores.ndim != 2 or len(scores) != n or scores.shape[1] not in (1, self.snapshots):
                raise ValueError(
                    f"{method}: shape {scores.shape} is neither ({n}, {self.snapshots}) nor ({n}, 1)"
                )

    @property
    def snapshots(self) -> int:
        """Snapshots that the scores have."""
        return max((scores.shape[-1] for scores in self.scores.values()), default=1)

    def upper(self) -> TrialScores:
        """Return the upper half by accuracy of this trial's architectures (R20)."""
        keep = upper_half(self.labels)
        return TrialScores(
            architectures=self.architectures[keep],
            labels=self.labels[keep],
            scores={method: scores[keep] for method, scores in self.scores.items()},
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Agreement:
    """How well one method's scores order one part of the architectures.

    Attributes:
        kendall: (trials, snapshots) τ-b.
        spearman: (trials, snapshots).
        resampled: (resamples, snapshots) mean over trials of the τ-b of each resample.
    """

    kendall: Floats
    spearman: Floats
    resampled: Floats


# By part (`ALL`, `UPPER_HALF`), then by method.
Agreements = Mapping[str, Mapping[str, Agreement]]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One method at one snapshot: means and standard deviations (ddof 1) over trials, τ's 95 % bootstrap interval.

    Attributes:
        snapshot: Position among the columns of the scores.
    """

    method: str
    part: str
    snapshot: int
    kendall: float
    kendall_std: float
    kendall_low: float
    kendall_high: float
    spearman: float
    spearman_std: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A method's τ-b minus a reference's at one snapshot, mean over trials.

    Attributes:
        snapshot: Position among the columns of the scores.
        low: Lower end of the paired 95 % bootstrap interval over architectures, given the models of these trials.
        high: Upper end of it.
        p_value: Of the two-sided paired t-test over trials; NaN for one trial, or if no trial differs from another.
            Trials that share architectures are not independent, so it is too small: the interval decides (R26).
    """

    method: str
    reference: str
    part: str
    snapshot: int
    difference: float
    low: float
    high: float
    p_value: float

    @property
    def beats(self) -> bool:
        """Whether the interval lies above 0 (R26)."""
        return self.low > 0

    @property
    def loses(self) -> bool:
        """Whether the interval lies below 0."""
        return self.high < 0


def kendall(scores: Floats, labels: Floats) -> float:
    """Return Kendall's τ-b of (n,) scores and labels; NaN where it is undefined (see the module)."""
    if not _ordered(scores, labels):
        return math.nan
    return float(stats.kendalltau(_ranks(scores), labels).statistic)


def spearman(scores: Floats, labels: Floats) -> float:
    """Return Spearman's correlation of (n,) scores and labels; NaN where it is undefined (see the module)."""
    if not _ordered(scores, labels):
        return math.nan
    return float(stats.spearmanr(_ranks(scores), labels).statistic)


def is_constant(scores: Floats) -> bool:
    """Return whether (n,) scores, missing ones aside, are all the same, so that nothing is ordered."""
    return len(np.unique(scores[~np.isnan(scores)])) == 1


def upper_half(labels: Floats) -> NDArray[np.bool_]:
    """Return which of (n,) labels are at least their median (R20)."""
    upper: NDArray[np.bool_] = labels >= np.median(labels) if len(labels) else np.zeros(0, dtype=bool)
    return upper


def top_k_recall(scores: Floats, labels: Floats, k: int) -> float:
    """Return whether the truly best of (n,) architectures is among the k of the highest scores (App. F.1, eq. 33).

    It is 0 or 1, or between them where a tie is at stake: the probability if ties are broken by lot.
    """
    return top_n_coverage(scores, labels, 1, k)


def top_n_coverage(scores: Floats, labels: Floats, n: int, k: int | None = None) -> float:
    """Return the share of the truly best n architectures among the k of the highest scores (App. F.1).

    Args:
        scores: (architectures,).
        labels: (architectures,).
        n: How many are truly best; where ties are at stake, the share is what to expect if they are broken by lot.
        k: How many are predicted to be best ("Top-n in Top-k"); n if not given.

    Raises:
        ValueError: n or k is not between 1 and the number of architectures.
    """
    k = n if k is None else k
    for name, number in (("n", n), ("k", k)):
        if not 1 <= number <= len(labels):
            raise ValueError(f"{name} = {number} is not one of 1-{len(labels)}, the number of architectures")
    if not _ordered(scores, labels):
        return math.nan
    return float(_chance_of_top(labels, n) @ _chance_of_top(_ranks(scores), k)) / n


def resample_counts(n: int, resamples: int, generator: np.random.Generator) -> Counts:
    """Draw how often each of n architectures is in each bootstrap resample of n.

    Returns:
        (resamples, n); draw it once and use it for every method, trial and snapshot.
    """
    return generator.multinomial(n, np.full(n, 1 / n), size=resamples)


def resampled_kendall(scores: Floats, labels: Floats, counts: Counts) -> Floats:
    """Compute the τ-b of every resample, equal to the last bit to SciPy's on the repeated vectors.

    With S the signs of all differences, τ-b is w'(S_x ∘ S_y)w over the root of (w' S_x² w)(w' S_y² w).

    Args:
        scores: (n,).
        labels: (n,).
        counts: (resamples, n), w: how often each architecture is in each resample.

    Returns:
        (resamples,); NaN where a resample leaves it undefined.
    """
    x, y = _ranks(scores), _ranks(labels)
    exact: type[np.floating] = np.float32 if counts.sum(1).max(initial=0) <= _EXACT_IN_FLOAT32 else np.float64
    weights: NDArray[np.floating] = counts.astype(exact)
    signs = (_signs(x) * _signs(y)).astype(exact)
    concordant_less_discordant = np.einsum("rn,rn->r", weights @ signs, weights).astype(np.float64) / 2
    untied_x, untied_y = _untied_pairs(x, counts), _untied_pairs(y, counts)
    present = x > 0
    ordered = untied_x if present.all() else _untied_pairs(x[present], counts[:, present])
    known = (ordered > 0) & (untied_y > 0)
    tau = np.full(len(counts), np.nan)
    tau[known] = concordant_less_discordant[known] / np.sqrt(untied_x[known]) / np.sqrt(untied_y[known])
    return tau.clip(-1, 1)


def interval(values: Floats) -> tuple[float, float]:
    """Return the percentiles 2.5 and 97.5 of (resamples,) values that are not NaN; NaN if there is none."""
    present = values[~np.isnan(values)]
    if not len(present):
        return math.nan, math.nan
    low, high = np.percentile(present, (2.5, 97.5))
    return float(low), float(high)


def agreements(trials: Sequence[TrialScores], counts: Counts) -> dict[str, dict[str, Agreement]]:
    """Compute what `summarise` and `compare` read, once: every method's correlations on all and on the upper half.

    The upper half is that of the trial's test architectures; resampling does not move its border.

    Args:
        trials: One or more, with the same methods and snapshots.
        counts: (resamples, architectures) of `resample_counts`; a trial takes the columns of its own architectures.

    Returns:
        By part, then by method in the first trial's order.

    Raises:
        ValueError: No trials, trials of different methods or snapshots, or architectures that counts has not.
    """
    _check(trials, counts)
    parts = {ALL: trials, UPPER_HALF: [trial.upper() for trial in trials]}
    return {
        part: {method: _agreement(members, method, counts) for method in trials[0].scores}
        for part, members in parts.items()
    }


def summarise(found: Agreements) -> list[Summary]:
    """Return mean, deviation and interval of every part, method and snapshot, in this order."""
    return [
        _summary(agreement, method, part, snapshot)
        for part, methods in found.items()
        for method, agreement in methods.items()
        for snapshot in range(agreement.kendall.shape[1])
    ]


def compare(found: Agreements, method: str, reference: str) -> list[Comparison]:
    """Return how much better a method is than a reference, for every part and snapshot, in this order."""
    return [
        _comparison(
            methods[method], methods[reference], snapshot, method=method, reference=reference, part=part
        )
        for part, methods in found.items()
        for snapshot in range(methods[method].kendall.shape[1])
    ]


def _ranks(values: Floats) -> NDArray[np.int64]:
    """Return dense ranks from 1 on; 0 is a missing value."""
    ranks = np.zeros(len(values), dtype=np.int64)
    present = ~np.isnan(values)
    ranks[present] = np.unique(values[present], return_inverse=True)[1] + 1
    return ranks


def _ordered(scores: Floats, labels: Floats) -> bool:
    """Whether there are two different scores, missing ones aside, and two different labels."""
    present = scores[~np.isnan(scores)]
    return len(np.unique(present)) > 1 and len(np.unique(labels)) > 1


def _signs(ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    signs: NDArray[np.int64] = np.sign(np.subtract.outer(ranks, ranks))
    return signs


def _untied_pairs(ranks: NDArray[np.int64], counts: Counts) -> Floats:
    """Count the pairs of different ranks in every resample: all pairs but those within a group of equal ranks."""
    order = np.argsort(ranks, kind="stable")
    starts = np.flatnonzero(np.diff(ranks[order], prepend=-1))
    groups = counts if len(starts) == len(ranks) else np.add.reduceat(counts[:, order], starts, axis=1)
    pairs: Floats = (counts.sum(1) ** 2 - np.einsum("rg,rg->r", groups, groups)) / 2
    return pairs


def _chance_of_top(values: NDArray[np.float64] | NDArray[np.int64], k: int) -> Floats:
    """Return each one's probability to be among the k largest if ties are broken by lot."""
    border = np.sort(values)[-k]
    above, tied = values > border, values == border
    chance: Floats = above + tied * ((k - above.sum()) / tied.sum())
    return chance


def _check(trials: Sequence[TrialScores], counts: Counts) -> None:
    if not trials:
        raise ValueError("no trials; give at least one")
    for number, trial in enumerate(trials):
        if list(trial.scores) != list(trials[0].scores) or trial.snapshots != trials[0].snapshots:
            raise ValueError(f"trial {number} has other methods or snapshots than trial 0")
        if trial.architectures.max(initial=-1) >= counts.shape[1]:
            raise ValueError(
                f"trial {number} has architectures beyond the {counts.shape[1]} of the resamples"
            )


def _agreement(trials: Sequence[TrialScores], method: str, counts: Counts) -> Agreement:
    shape = (len(trials), trials[0].snapshots)
    taus, rhos = np.empty(shape), np.empty(shape)
    total = np.zeros((len(counts), trials[0].snapshots))
    for row, trial in enumerate(trials):
        own, columns = counts[:, trial.architectures], trial.scores[method].T
        taus[row] = [kendall(column, trial.labels) for column in columns]
        rhos[row] = [spearman(column, trial.labels) for column in columns]
        total += np.stack([resampled_kendall(column, trial.labels, own) for column in columns], axis=1)
    return Agreement(kendall=taus, spearman=rhos, resampled=total / len(trials))


def _summary(agreement: Agreement, method: str, part: str, snapshot: int) -> Summary:
    taus, rhos = agreement.kendall[:, snapshot], agreement.spearman[:, snapshot]
    low, high = interval(agreement.resampled[:, snapshot])
    return Summary(
        method=method,
        part=part,
        snapshot=snapshot,
        kendall=float(taus.mean()),
        kendall_std=_deviation(taus),
        kendall_low=low,
        kendall_high=high,
        spearman=float(rhos.mean()),
        spearman_std=_deviation(rhos),
    )


def _comparison(ours: Agreement, theirs: Agreement, snapshot: int, **names: str) -> Comparison:
    differences = (ours.kendall - theirs.kendall)[:, snapshot]
    low, high = interval((ours.resampled - theirs.resampled)[:, snapshot])
    return Comparison(
        **names,
        snapshot=snapshot,
        difference=float(differences.mean()),
        low=low,
        high=high,
        p_value=_paired_t_test(differences),
    )


def _deviation(values: Floats) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan


def _paired_t_test(differences: Floats) -> float:
    if len(differences) < 2 or not np.ptp(differences) > _NO_SPREAD:
        return math.nan
    return float(stats.ttest_rel(differences, np.zeros(len(differences))).pvalue)
