"""Side by side: a fit of NGBoost with SciPy's normal distribution and with `stages.baselines.methods.boosting`.

Run from the repository's root: `PYTHONPATH=.:tests python tests/benchmarks/bench_boosting.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from ngboost import NGBRegressor
from ngboost.distns import Normal
from sklearn.tree import DecisionTreeRegressor

from stages.baselines.methods.boosting import boost

TREE: dict[str, Any] = {"max_depth": 6, "max_features": 0.79}
BOOSTING: dict[str, Any] = {"n_estimators": 300, "learning_rate": 0.03, "minibatch_frac": 0.5}


def seconds(run: Callable[[], object], repeats: int = 3) -> float:
    """The fastest of several runs, in seconds of the processor."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    """Print both times and their ratio."""
    random = np.random.default_rng(0)
    features = random.normal(size=(140, 40))
    targets = features[:, 0] + 0.3 * random.normal(size=140)

    def plain() -> object:
        base = DecisionTreeRegressor(random_state=0, **TREE)
        return NGBRegressor(Dist=Normal, Base=base, random_state=0, verbose=False, **BOOSTING).fit(
            features, targets
        )

    theirs = seconds(plain)
    ours = seconds(lambda: boost(features, targets, 0, tree=TREE, boosting=BOOSTING))
    print(
        f"boosting, 140 networks: {ours:.2f} s, with SciPy's distribution {theirs:.2f} s: {theirs / ours:.1f}x"
    )


if __name__ == "__main__":
    main()
