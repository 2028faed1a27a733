"""Cell trees: extra-trees on the cell's own description, the reference that every table carries (R26).

They are fitted on the labels of the source and stay as they are for a target; no network is trained. A second method
reads zero-cost proxies along with the cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from stages.baselines.method import Floats, Method, Prefix, Scorer, UnmetNeedError
from stages.baselines.methods.zero_cost import read_columns
from stages.zero_cost.columns import COLUMNS

TREES: Final = 200
MAX_FEATURES: Final = 0.5
MISSING: Final = -0.1
"""In place of a share, where a proxy has no value: below all, and near enough to leave room for other thresholds."""

APPENDED: Final = tuple(name for name in COLUMNS if name != "complexity")
"""Zero-cost columns that the second method reads; FLOPs are among the features of the cell already."""


@dataclass(frozen=True)
class CellTrees:
    """Fitted trees.

    Attributes:
        forest: scikit-learn's `ExtraTreesRegressor`.
    """

    forest: Any

    @classmethod
    def fit(cls, features: Floats, labels: Floats, seed: int) -> CellTrees:
        """Fit the trees to the ranks of labels (ties share their average rank).

        With ranks neither unit nor spacing of the labels matters, and the specification's figures are reached. On
        NAS-Bench-201 the same trees fitted to the accuracies themselves order by 0.00 to 0.03 τ better.

        Args:
            features: (n, features), such as those of `cell_feature_matrix`.
            labels: (n,) accuracies, in any unit.
            seed: Of the trees, 0 … 2³² − 1; the same seed and data give the same trees.

        Raises:
            ValueError: Shapes that do not fit, no label at all, or a value that is not finite.
        """
        # Here, so that listing stages and methods does not wait for them.
        from scipy.stats import rankdata
        from sklearn.ensemble import ExtraTreesRegressor

        _check(features, labels)
        forest = ExtraTreesRegressor(TREES, max_features=MAX_FEATURES, random_state=seed, n_jobs=1)
        return cls(forest.fit(features, rankdata(labels)))

    def predict(self, features: Floats) -> Floats:
        """Predict (n,) ranks among the training labels from (n, features); higher is better."""
        return np.asarray(self.forest.predict(features), dtype=np.float64)


def _check(features: Floats, labels: Floats) -> None:
    if features.ndim != 2 or labels.shape != features.shape[:1] or not len(labels):
        raise ValueError(
            f"features of shape {features.shape} and labels of shape {labels.shape} do not fit; "
            "give (n, features) and (n,), n at least 1"
        )
    if not np.isfinite(features).all() or not np.isfinite(labels).all():
        raise ValueError("features and labels must be finite; leave out architectures without a label")


def training_shares(columns: Mapping[str, Floats], training: Mapping[str, Floats]) -> Floats:
    """Say of each value which share of the training architectures' values it exceeds, ties counting half.

    Columns have long tails, in which a tree's uniform thresholds would be lost. All that is compared with is of
    the training architectures, so the numbers of an architecture do not depend on the others that are scored.

    Args:
        columns: (n,) values by column; NaN: none.
        training: (m,) values of the training architectures, of the same columns.

    Returns:
        (n, columns) from 0 to 1, `MISSING` where there is no value.
    """
    shares = []
    for name, values in columns.items():
        known = np.sort(training[name][~np.isnan(training[name])])
        below = np.searchsorted(known, values, "left") + np.searchsorted(known, values, "right")
        shares.append(np.where(np.isnan(values), MISSING, below / 2 / max(len(known), 1)))
    return np.stack(shares, axis=1)


def described(prefix: Prefix) -> Floats:
    """Return (n, features): what each cell tells by itself.

    Raises:
        UnmetNeedError: The space has no cells.
    """
    found = [prefix.space.cell_features(each) for each in prefix.architectures]
    rows = [list(features.values()) for features in found if features is not None]
    if len(rows) < len(found):
        raise UnmetNeedError(f"search space {prefix.space.name} gives no graph of its cells, which it reads")
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1)


def fit_cells(train: Prefix, labels: Floats, seed: int) -> Scorer:
    """Fit the trees to what cells tell by themselves.

    Raises:
        UnmetNeedError: The space has no cells.
        ValueError: As of `CellTrees.fit`.
    """
    trees = CellTrees.fit(described(train), labels, seed)
    return lambda prefix: trees.predict(described(prefix))


def fit_cells_and_proxies(train: Prefix, labels: Floats, seed: int) -> Scorer:
    """Fit the trees to cells and zero-cost columns; aggregates, which need the set that is scored, are left out.

    Raises:
        UnmetNeedError: There are no zero-cost proxies, or the space has no cells.
        ValueError: As of `CellTrees.fit`.
    """
    training = read_columns(train, APPENDED)

    def features(prefix: Prefix) -> Floats:
        shares = training_shares(read_columns(prefix, APPENDED), training)
        return np.hstack([described(prefix), shares])

    trees = CellTrees.fit(features(train), labels, seed)
    return lambda prefix: trees.predict(features(prefix))


CELL_TREES: Final = Method(
    name="cell trees",
    kind="reference",
    fit=fit_cells,
    source="this project, features after Kadlecova et al. 2024",
)
CELL_TREES_WITH_PROXIES: Final = Method(
    name="cell trees + zero-cost",
    kind="cell",
    fit=fit_cells_and_proxies,
    source="this project, features after Kadlecova et al. 2024",
    needs=frozenset({"zero-cost"}),
    columns=APPENDED,
)
