"""Early stop: the last validation accuracy of the prefix, which is also what curves fall back on."""

from __future__ import annotations

from typing import Final

import numpy as np

from stages.baselines.method import Floats, Method, Prefix, UnmetNeedError, label_free

KEPT: Final = 0.9
"""Share of BatchNorm's running statistics that a mini-batch leaves as it was."""
LEAST_KEPT: Final = 0.1


def last_value(prefix: Prefix) -> Floats:
    """Return (n,) the last validation accuracies; NaN: the network has none.

    Raises:
        UnmetNeedError: There is no observation, or no network has any.
    """
    return observed(prefix)[:, -1].copy()


def observed(prefix: Prefix) -> Floats:
    """Return (n, observations) the validation accuracies, when there are any.

    Raises:
        UnmetNeedError: There is no observation, or no network has any.
    """
    accuracies = prefix.validation_accuracy
    if not accuracies.shape[1] or (len(accuracies) and np.isnan(accuracies).all()):
        raise UnmetNeedError(
            "no validation accuracy was observed; ask for a later snapshot, or collect with validation"
        )
    return accuracies


def _statistics_are_young(mini_batches: int) -> str:
    """Say so while BatchNorm's running statistics, renewed by a tenth a mini-batch, hold much of their start."""
    if KEPT**mini_batches < LEAST_KEPT:
        return ""
    return "much of BatchNorm's running statistics is still their initial value, so accuracy is near chance"


EARLY_STOP: Final = Method(
    name="early stop",
    kind="learning curve",
    fit=label_free(last_value),
    source="paper section 4.2",
    needs=frozenset({"validation accuracy"}),
    learned=False,
    remark=_statistics_are_young,
)
