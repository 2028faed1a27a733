"""LCE-m: a network's accuracy after the schedule, from a posterior over monotone curves (Domhan et al. 2015).

The curve is a weighted mean of four families plus Gaussian noise of one σ, as in White et al. 2021:

* MMF             α − (α − β) / (1 + (κx)^δ)
* log-log-linear  ln(a ln x + b)
* Hill            θ x^η / (κ^η + x^η), with zero background
* log-power       a / (1 + (x / e^b)^c)

All but the second are one logistic function of ln x, low + (high − low) · expit(slope · (ln x − middle)), Hill and
log-power even the same one; both are kept, as published. Time is measured in units of the first observation, so that
ln x ≥ 0 and all families are defined where that one came before the end of the first epoch; κ, b and e^b take up the
unit, so no family loses a curve. An observation before any training (epoch 0) belongs to no family and is left out.

The prior is uniform in a box in which every family rises and stays within [0, 1]; slopes and σ are uniform in their
logarithm. Weights are positive and count relative to their sum. Sampling begins at the maximum-likelihood parameters
of each family and the maximum-likelihood weights of these four curves.
"""

from __future__ import annotations

import hashlib
import math
from functools import partial
from typing import Any, Final

import numpy as np

from stages.baselines.method import Floats, Method, Prefix, Scorer
from stages.baselines.methods.early_stop import last_value, observed

WALKERS: Final = 50
SAMPLES: Final = 800
BURN_IN: Final = 500
FEWEST_OBSERVATIONS: Final = 3
"""Fewer cannot tell level, rise and noise apart: the last value stands."""

_MIDDLE = (-6.0, 12.0)
_LOG_SLOPE = (math.log(0.05), math.log(10.0))
_LOGISTIC = ((0.0, 1.0), _MIDDLE, _LOG_SLOPE)
_FAMILIES: Final[dict[str, tuple[tuple[float, float], ...]]] = {
    "mmf": (*_LOGISTIC, (0.0, 1.0)),
    "hill": _LOGISTIC,
    "log_power": _LOGISTIC,
    "log_log_linear": ((0.0, math.e - 1), (1.0, math.e)),
}
"""Bounds of each family's parameters: high, middle, log slope and, for MMF, low; a and b for log-log-linear."""

_WEIGHTS = ((0.0, 1.0),) * len(_FAMILIES)
_LOG_SIGMA = (math.log(1e-4), math.log(0.5))
_BOX: Final = np.array([*(pair for pairs in _FAMILIES.values() for pair in pairs), *_WEIGHTS, _LOG_SIGMA])
_LOW, _HIGH = _BOX.T
_COLUMNS = (slice(0, 4), slice(4, 7), slice(7, 10), slice(10, 12))
_MMF_LOW, _A, _B, _WEIGHT, _SIGMA = 3, 10, 11, slice(12, 16), 16
_HIGH_MIDDLE_SLOPE = [[0, 1, 2], [4, 5, 6], [7, 8, 9]]
_START_DRAWS = 2000
_REFINEMENTS = 30
_LEAST_START_WEIGHT = 0.02
_SPREAD = 1e-3


def scorer(_train: Prefix, _labels: Floats, seed: int) -> Scorer:
    """Make what scores, of which only the seed matters."""
    return partial(_score, seed=seed)


def _score(prefix: Prefix, *, seed: int) -> Floats:
    """Return (n,) expected accuracies after the schedule; each is of its own curve and the seed alone."""
    accuracies, scores = observed(prefix), last_value(prefix)
    target = float(prefix.schedule_epochs + 1)
    for index in np.flatnonzero(~np.isnan(scores)):
        seen = ~np.isnan(accuracies[index]) & (prefix.epochs > 0)
        if seen.sum() >= FEWEST_OBSERVATIONS:
            found = extrapolate(prefix.epochs[seen], accuracies[index, seen], target, seed)
            scores[index] = scores[index] if found is None else found
    return scores


def extrapolate(epochs: Floats, accuracies: Floats, target: float, seed: int) -> float | None:
    """Return the posterior's mean at an epoch, or None where sampling fails.

    Args:
        epochs: (observations,) above 0, ascending.
        accuracies: (observations,) fractions.
        target: An epoch at or after the last one.
        seed: Of the generator, which is derived from it and the curve.
    """
    log_x = np.log(np.append(epochs, target) / epochs[0])
    # emcee draws from a RandomState; so that no other one is needed, the start is drawn from it, too.
    generator = np.random.RandomState(_derived(seed, epochs, accuracies))
    start = _start(log_x[:-1], accuracies, generator, log_x[-1])
    chain = _sample(start, log_x, accuracies, generator)
    means = _combined(chain, log_x[-1:])[:, 0]
    mean = float(means.mean()) if len(means) else math.nan
    return mean if math.isfinite(mean) else None


def _derived(seed: int, *arrays: Floats) -> Any:
    digest = hashlib.sha256(str(seed).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return np.frombuffer(digest.digest(), dtype="<u4")


def _curves(theta: Floats, log_x: Floats) -> Floats:
    """Return (walkers, family, x): every family's curve; NaN where a logarithm has none."""
    from scipy.special import expit

    logistic = theta[:, _HIGH_MIDDLE_SLOPE]
    high, middle, slope = logistic[..., 0], logistic[..., 1], np.exp(logistic[..., 2])
    low = np.zeros_like(high)
    low[:, 0] = theta[:, _MMF_LOW]
    rise = expit(slope[..., None] * (log_x - middle[..., None]))
    with np.errstate(invalid="ignore", divide="ignore"):
        linear = np.log(theta[:, _A, None] * log_x + theta[:, _B, None])
    curves = low[..., None] + (high - low)[..., None] * rise
    return np.concatenate([curves, linear[:, None]], axis=1)


def _combined(theta: Floats, log_x: Floats) -> Floats:
    weights = theta[:, _WEIGHT] / theta[:, _WEIGHT].sum(axis=1, keepdims=True)
    combined: Floats = np.einsum("wf,wfx->wx", weights, _curves(theta, log_x))
    return combined


def _log_probability(theta: Floats, log_x: Floats, accuracies: Floats) -> Floats:
    """Return (walkers,) logarithms of prior and likelihood, up to a constant; the target is the last of log_x."""
    possible = ((theta >= _LOW) & (theta <= _HIGH)).all(axis=1)
    possible &= theta[:, _MMF_LOW] <= theta[:, 0]
    possible &= theta[:, _A] * log_x[-1] + theta[:, _B] <= math.e
    possible &= theta[:, _WEIGHT].sum(axis=1) > 0
    found = np.full(len(theta), -np.inf)
    if possible.any():
        admitted = theta[possible]
        errors = _combined(admitted, log_x[:-1]) - accuracies
        log_sigma = admitted[:, _SIGMA]
        squares = np.einsum("wx,wx->w", errors, errors) * np.exp(-2 * log_sigma)
        found[possible] = -len(accuracies) * log_sigma - squares / 2
    return found


def _sample(start: Floats, log_x: Floats, accuracies: Floats, generator: np.random.RandomState) -> Floats:
    """Return (samples, parameters) after burn-in; none where sampling fails."""
    import emcee

    sampler = emcee.EnsembleSampler(
        WALKERS, len(_BOX), _log_probability, args=(log_x, accuracies), vectorize=True
    )
    around = _SPREAD * (_HIGH - _LOW) * generator.standard_normal((4 * WALKERS, len(_BOX)))
    walkers = _reflected(start + around)
    walkers = walkers[np.isfinite(_log_probability(walkers, log_x, accuracies))][:WALKERS]
    try:
        sampler.run_mcmc(emcee.State(walkers, random_state=generator.get_state()), SAMPLES)
    except ValueError:  # too few possible walkers, walkers in one plane, or a probability that is NaN
        return np.empty((0, len(_BOX)))
    return np.asarray(sampler.get_chain(discard=BURN_IN, flat=True), dtype=np.float64)


def _reflected(theta: Floats) -> Floats:
    """Fold what is a little outside of the box back into it."""
    within = _LOW + np.abs(theta - _LOW)
    folded: Floats = _HIGH - np.abs(_HIGH - within)
    return folded


def _start(log_x: Floats, accuracies: Floats, generator: np.random.RandomState, target: float) -> Floats:
    """Return the parameters of maximum likelihood: of each family, then of the weights, then of σ.

    Args:
        log_x: (observations,).
        accuracies: (observations,).
        generator: Draws the candidates that are refined.
        target: The logarithm of the time at which log-log-linear must not be above 1.
    """
    from scipy.optimize import nnls

    theta = _candidates(log_x, accuracies, generator, target)
    for index, columns in enumerate(_COLUMNS):
        theta[columns] = _refined(theta, index, columns, log_x, accuracies)
    # The prior is zero where a curve begins above its end or passes 1 before the target: the chain may not start there.
    theta[_MMF_LOW] = min(theta[_MMF_LOW], theta[0])
    theta[_A] = min(theta[_A], (math.e - theta[_B]) / target if target else math.inf)
    # Walkers are spread about this point, and none may leave the prior's box.
    margin = 2 * _SPREAD * (_HIGH - _LOW)
    theta = np.clip(theta, _LOW + margin, _HIGH - margin)
    curves = _curves(theta[None], log_x)[0]
    # Given the families' curves, the weights are a linear least-squares problem with no negative solution.
    weights = nnls(curves.T, accuracies)[0]
    theta[_WEIGHT] = np.maximum(
        weights / weights.sum() if weights.any() else 1 / len(weights), _LEAST_START_WEIGHT
    )
    sigma = float(np.std(_combined(theta[None], log_x)[0] - accuracies))
    theta[_SIGMA] = np.clip(
        math.log(max(sigma, 1e-9)), _LOG_SIGMA[0] + margin[_SIGMA], _LOG_SIGMA[1] - margin[_SIGMA]
    )
    return theta


def _candidates(log_x: Floats, accuracies: Floats, generator: np.random.RandomState, target: float) -> Floats:
    """Return parameters in which each family's are the best of many drawn from the prior."""
    drawn: Floats = generator.uniform(_LOW, _HIGH, (_START_DRAWS, len(_BOX)))
    drawn[:, _MMF_LOW] *= drawn[:, 0]  # low is not above high
    drawn[:, _A] *= np.minimum(1, (math.e - drawn[:, _B]) / ((math.e - 1) * max(target, 1)))
    errors = ((_curves(drawn, log_x) - accuracies) ** 2).sum(axis=2)
    best: Floats = drawn[0]
    for columns, row in zip(_COLUMNS, errors.argmin(axis=0), strict=True):
        best[columns] = drawn[row, columns]
    return best


def _refined(theta: Floats, family: int, columns: slice, log_x: Floats, accuracies: Floats) -> Floats:
    """Return one family's parameters of least squares, from those in theta on."""
    from scipy.optimize import least_squares

    def errors(own: Floats) -> Floats:
        whole = theta.copy()
        whole[columns] = own
        difference: Floats = _curves(whole[None], log_x)[0, family] - accuracies
        return difference

    low, high = _LOW[columns], _HIGH[columns]
    found = least_squares(
        errors, theta[columns], bounds=(low, high), x_scale=high - low, max_nfev=_REFINEMENTS
    )
    return np.asarray(found.x, dtype=np.float64)


LCE_M: Final = Method(
    name="LCE-m",
    kind="learning curve",
    fit=scorer,
    source="Domhan et al. 2015; White et al. 2021",
    needs=frozenset({"validation accuracy"}),
    learned=False,
)
