"""Cell trees: extra-trees on the cell's own description, the reference that every table carries (SPEC R26).

They are fitted on the labels of the source and stay as they are for a target; no network is trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TREES: Final = 200
MAX_FEATURES: Final = 0.5


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

        With ranks neither unit nor spacing of the labels matters, and BASELINES' figures are reached. On
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
