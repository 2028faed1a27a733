"""NGBoost's normal distribution without SciPy's, and trees that draw in turn; needs the optional package `ngboost`.

NGBoost makes a SciPy distribution at every look of its line search, which takes more time than growing the trees: a
fit takes less than half as long without (tests/benchmarks/bench_boosting.py).
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from ngboost import NGBRegressor
from ngboost.distns import Normal
from ngboost.distns.normal import NormalLogScore
from ngboost.scores import LogScore
from sklearn.tree import DecisionTreeRegressor

from stages.baselines.method import Floats

_LOG_ROOT_2_PI: Final = math.log(2 * math.pi) / 2


class _LogScore(NormalLogScore, LogScore):  # type: ignore[misc]  # NGBoost finds it by its last base
    def score(self, values: Floats) -> Floats:
        """Return (n,) negative log-likelihoods."""
        return np.asarray(((values - self.loc) / self.scale) ** 2 / 2 + np.log(self.scale) + _LOG_ROOT_2_PI)


class PlainNormal(Normal):  # type: ignore[misc]
    """Location and logarithm of scale, with what boosting asks of them in closed form."""

    scores = (_LogScore,)

    def __init__(self, params: Floats) -> None:
        super(Normal, self).__init__(params)  # past its parent's, which makes SciPy's distribution
        self.loc = params[0]
        self.scale = np.exp(params[1])
        self.var = self.scale**2

    def mean(self) -> Floats:
        """Return (n,) predictions."""
        return np.asarray(self.loc)


class _Shared(np.random.RandomState):
    """A generator that copies of a tree draw from in turn; with copies of it, all trees would draw the same."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Shared:
        return self


def boost(
    features: Floats, targets: Floats, seed: int, *, tree: dict[str, Any], boosting: dict[str, Any]
) -> Any:
    """Return a fitted `NGBRegressor` of (n, features) and (n,).

    Args:
        features: Finite.
        targets: Not all alike.
        seed: Of sampled rows and trees.
        tree: Settings of `DecisionTreeRegressor`.
        boosting: Settings of `NGBRegressor`.
    """
    random = _Shared(seed)
    base = DecisionTreeRegressor(random_state=random, **tree)
    model = NGBRegressor(Dist=PlainNormal, Base=base, random_state=random, verbose=False, **boosting)
    return model.fit(features, targets)
