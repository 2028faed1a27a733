"""Omni-NGB: natural-gradient boosting on the cell, a proxy and the first mini-batches (White et al. 2021).

Boosting is NGBoost's (Duan et al. 2020), an optional package. Its trees only compare a feature with thresholds
that lie between training values, so features need no scaling. Labels are their ranks, as in SemiNAS.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stages.baselines.method import Floats, Method, Prefix, Scorer, UnmetNeedError
from stages.baselines.methods.omni_seminas import PROXY, proxy
from stages.baselines.methods.rank_aggregation import ranks
from stages.baselines.methods.sequences import code_of
from stages.baselines.methods.sotl import sum_of_last_epoch
from stages.search_spaces.graph import CellForm, CellGraph
from stages.training.order import generator

DRAWS: Final = 35
TREES: Final = (128, 512)
"""Fewest and most boosting steps that are drawn."""

FOLDS: Final = 3
ARCHITECTURES: Final = 2 * FOLDS
"""Fewest to fit: with less, R² of a fold is not defined."""

_WORST: Final = -1e30  # below every number, and finite also in the float32 of trees


def fit(
    train: Prefix, labels: Floats, seed: int, *, draws: int = DRAWS, trees: tuple[int, int] = TREES
) -> Scorer:
    """Fit to cells and measurements of training architectures.

    Args:
        train: n architectures.
        labels: (n,) fractions.
        seed: Of draws, folds, sampled rows and trees.
        draws: Of hyper-parameters.
        trees: Fewest and most boosting steps.

    Raises:
        UnmetNeedError: No zero-cost column, no mini-batch trained, fewer than six architectures, or no cells.
    """
    if len(labels) < ARCHITECTURES:
        raise UnmetNeedError(f"Omni-NGB needs {ARCHITECTURES} labels, there are {len(labels)}")
    features = omni_features(train)
    if not np.ptp(labels):
        return lambda tested: np.ones(len(omni_features(tested)))  # no density to fit
    targets = ranks(labels) / len(labels)
    # Here, so that listing methods neither waits for it nor needs it.
    from stages.baselines.methods.boosting import boost

    model = boost(features, targets, seed, **_search(features, targets, seed, draws, trees))

    def score(tested: Prefix) -> Floats:
        return np.asarray(model.predict(omni_features(tested)), dtype=np.float64)

    return score


def omni_features(prefix: Prefix) -> Floats:
    """Return (n, features): the cell one-hot, Jacobian covariance, minus the sum of recent losses.

    The cell is the operation of each vertex between input and output, and whether there is an edge between each two
    where that differs between cells: 30 numbers in NAS-Bench-201. What has no value (NaN) is below everything.

    Raises:
        UnmetNeedError: No zero-cost column, no mini-batch trained, or a space without cells.
    """
    graphs, form = prefix.graphs(), code_of(prefix).form
    cells = np.array([_one_hot(form, graph) for graph in graphs], dtype=np.float64).reshape(len(graphs), -1)
    measured = np.stack((proxy(prefix), sum_of_last_epoch(prefix)), axis=1)
    return np.hstack((cells, np.nan_to_num(measured, nan=_WORST, neginf=_WORST, posinf=-_WORST)))


def _one_hot(form: CellForm, graph: CellGraph) -> list[bool]:
    inner = graph.operations[1:-1]
    absent = (None,) * (form.vertices - len(graph.operations))
    there = [operation == name for operation in (*inner, *absent) for name in form.operations]
    if form.fixed_edges:
        return there
    n = len(graph.operations)
    ends = [(i, j) for j in range(form.vertices) for i in range(j)]
    return there + [j < n and graph.edges[i][j] for i, j in ends]


def _draw(random: np.random.Generator, n: int, trees: tuple[int, int]) -> dict[str, Any]:
    """Draw hyper-parameters from the published ranges for n training architectures."""
    most = max(2, n // FOLDS - 1)
    return {
        "boosting": {
            "n_estimators": int(np.exp(random.uniform(*np.log(trees)))),
            "learning_rate": float(np.exp(random.uniform(np.log(1e-3), np.log(0.1)))),
            # At least two rows, also of a fold's part, however few there are.
            "minibatch_frac": max(float(random.uniform(0.1, 1)), 2 * FOLDS / n / (FOLDS - 1) + 1 / n),
        },
        "tree": {
            "max_depth": int(random.integers(1, 25)),
            "max_features": float(random.uniform(0.1, 1)),
            "min_samples_leaf": min(most, int(random.integers(2, 20))),
            "min_samples_split": min(most, int(random.integers(2, 20))),
        },
    }


def _search(
    features: Floats, targets: Floats, seed: int, draws: int, trees: tuple[int, int]
) -> dict[str, Any]:
    """Return the draw whose mean R² over three folds is the highest."""
    from sklearn.metrics import r2_score
    from sklearn.model_selection import KFold

    from stages.baselines.methods.boosting import boost

    folds: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = list(
        KFold(FOLDS, shuffle=True, random_state=seed).split(features)
    )
    candidates = [_draw(generator(seed, "omni-ngb", draw), len(targets), trees) for draw in range(draws)]

    def goodness(candidate: dict[str, Any], kept: NDArray[np.int64], held: NDArray[np.int64]) -> float:
        model = boost(features[kept], targets[kept], seed, **candidate)
        return float(r2_score(targets[held], model.predict(features[held])))

    means = [np.mean([goodness(candidate, *fold) for fold in folds]) for candidate in candidates]
    return candidates[int(np.argmax(means))]


OMNI_NGB: Final = Method(
    name="Omni-NGB",
    kind="hybrid",
    fit=fit,
    source="White et al. 2021, Duan et al. 2020",
    needs=frozenset({"training loss", "zero-cost"}),
    columns=(PROXY,),
    package="ngboost",
    install="python -m pip install 'ngboost>=0.5'",
)
