"""LcSVR: a support-vector machine on what the validation-accuracy curve looks like (Baker et al. 2017).

As in the comparison of White et al. (2021): six features of the curve so far, hyper-parameters by random search.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stages.baselines.method import Floats, Method, Prefix, Scorer, UnmetNeedError
from stages.baselines.methods.rank_aggregation import ranks

OBSERVATIONS: Final = 3
"""Fewest that have a second difference."""

DRAWS: Final = 1000
FOLDS: Final = 3
CURVES: Final = 2 * FOLDS
"""Fewest to fit: with less, R² of a fold is not defined."""


def curve_features(validation_accuracy: Floats) -> Floats:
    """Describe curves by mean and deviation of themselves, of their first and of their second differences.

    Args:
        validation_accuracy: (n, observations).

    Returns:
        (n, 6); NaN where a curve has NaN.

    Raises:
        UnmetNeedError: Fewer than three observations.
    """
    if validation_accuracy.shape[1] < OBSERVATIONS:
        raise UnmetNeedError(
            f"LcSVR needs {OBSERVATIONS} observations of the validation accuracy, the prefix has "
            f"{validation_accuracy.shape[1]}; take a later snapshot"
        )
    differences = [np.diff(validation_accuracy, n=order, axis=1) for order in range(OBSERVATIONS)]
    columns = [statistic(values, axis=1) for values in differences for statistic in (np.mean, np.std)]
    return np.stack(columns, axis=1).astype(np.float64)


def fit(train: Prefix, labels: Floats, seed: int, *, draws: int = DRAWS) -> Scorer:
    """Fit to the curves of training architectures; those that diverged are left out.

    The published description has no scaling, so what its ranges of C and γ mean depends on the unit of accuracies;
    here features are standardized, by statistics of the training architectures alone. Labels are their ranks: a few
    networks near chance decide squares of accuracies, and with them what hyper-parameters are taken.

    Args:
        train: n architectures.
        labels: (n,) fractions.
        seed: Of draws and folds.
        draws: Of hyper-parameters.

    Raises:
        UnmetNeedError: Fewer than three observations, or fewer than six curves without NaN.
    """
    features = curve_features(train.validation_accuracy)
    known = np.isfinite(features).all(axis=1)
    if known.sum() < CURVES:
        raise UnmetNeedError(
            f"LcSVR needs {CURVES} training curves, there are {known.sum()} that did not diverge; "
            "take a larger train size"
        )
    # By training architectures alone: a score must not depend on which others are tested.
    mean, deviation = _statistics(features[known])
    targets = ranks(labels[known])
    middle, spread = _statistics(targets)
    machine = _search((features[known] - mean) / deviation, (targets - middle) / spread, seed, draws)

    def score(tested: Prefix) -> Floats:
        asked = (curve_features(tested.validation_accuracy) - mean) / deviation
        present = np.isfinite(asked).all(axis=1)
        scores = np.full(len(asked), np.nan)
        if present.any():
            scores[present] = machine.predict(asked[present]) * spread + middle
        return scores

    return score


def _statistics(values: Floats) -> tuple[Any, Any]:
    """Return mean and deviation over architectures; 1 where nothing varies."""
    varies = np.ptp(values, axis=0) > 0  # where it does not, rounding may still give a deviation
    return values.mean(axis=0), np.where(varies, values.std(axis=0), 1.0)


def _search(features: Floats, labels: Floats, seed: int, draws: int) -> Any:
    """Return the machine of the draw whose mean R² over three folds is the highest, fitted to everything."""
    # Here, so that listing methods does not wait for them.
    from scipy.stats import loguniform, uniform
    from sklearn.model_selection import KFold, RandomizedSearchCV
    from sklearn.svm import NuSVR

    search = RandomizedSearchCV(
        NuSVR(kernel="rbf"),
        {"C": loguniform(1e-5, 10), "gamma": loguniform(1e-5, 10), "nu": uniform(0, 1)},
        n_iter=draws,
        cv=KFold(FOLDS, shuffle=True, random_state=seed),
        random_state=seed,
        error_score="raise",
        n_jobs=1,
    )
    # libsvm is handed a seed from the global generator, which it has no use for in regression.
    before = np.random.get_state()  # noqa: NPY002
    try:
        return search.fit(features, labels).best_estimator_
    finally:
        np.random.set_state(before)  # noqa: NPY002


LCSVR: Final = Method(
    name="LcSVR",
    kind="hybrid",
    fit=fit,
    source="Baker et al. 2017, as in White et al. 2021",
    needs=frozenset({"validation accuracy"}),
)
