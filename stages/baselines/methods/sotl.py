"""Sums of training losses (Ru et al. 2021, "Speedy Performance Estimation"): the faster it falls, the better.

The sum is negated, so that higher is better. A network that diverged has no score (NaN), which ranks last (R20).

"The last epoch" is that of the last `Prefix.epoch_mini_batches` mini-batches, wherever the prefix ends. Within the
first epoch it is the whole prefix, so SoTL, SoTL-E and SoTL-EMA are one number there, and one row is reported. The
paper's Table 4 has them apart at 100 of 196 mini-batches, which no sum over these losses can give; nothing is bent to
that.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from stages.baselines.method import Floats, Method, Prefix, Scorer, UnmetNeedError, label_free

GAMMA: Final = 0.999
"""An epoch's weight relative to the next one's: what Ru et al. settle on, having tried 0.9 to 0.999 (section 4)."""


def sum_of_losses(prefix: Prefix) -> Floats:
    """Return (n,) minus the sum over all mini-batches.

    Raises:
        UnmetNeedError: There is no mini-batch.
    """
    return _negated(_losses(prefix).sum(axis=1))


def sum_of_last_epoch(prefix: Prefix) -> Floats:
    """Return (n,) minus the sum over the last epoch's mini-batches.

    Raises:
        UnmetNeedError: There is no mini-batch.
    """
    return _negated(_losses(prefix)[:, -prefix.epoch_mini_batches :].sum(axis=1))


def moving_sum(prefix: Prefix, gamma: float = GAMMA) -> Floats:
    """Return (n,) minus the sum in which epochs count less, by a factor of gamma each, the longer ago they are.

    Epochs are counted back from the end of the prefix; the first one may be cut.

    Raises:
        UnmetNeedError: There is no mini-batch.
    """
    losses = _losses(prefix)
    age = np.arange(losses.shape[1])[::-1] // prefix.epoch_mini_batches
    return _negated((losses * gamma**age).sum(axis=1))


def _losses(prefix: Prefix) -> Floats:
    if not prefix.training_loss.shape[1]:
        raise UnmetNeedError(
            "there is no training loss before the first mini-batch; ask for a later snapshot"
        )
    return prefix.training_loss


def _negated(sums: Floats) -> Floats:
    return np.where(np.isfinite(sums), -sums, np.nan)


def _after_an_epoch(score: Scorer) -> Scorer:
    """Leave SoTL to stand alone where the first epoch is not over, and all sums are one number."""

    def scored(prefix: Prefix) -> Floats:
        if 0 < prefix.training_loss.shape[1] <= prefix.epoch_mini_batches:
            raise UnmetNeedError("within the first epoch it is SoTL, whose row stands for both")
        return score(prefix)

    return scored


def _method(name: str, score: Scorer) -> Method:
    return Method(
        name=name,
        kind="learning curve",
        fit=label_free(score),
        source="Ru et al. 2021",
        needs=frozenset({"training loss"}),
        learned=False,
    )


SOTL: Final = _method("SoTL", sum_of_losses)
SOTL_E: Final = _method("SoTL-E", _after_an_epoch(sum_of_last_epoch))
SOTL_EMA: Final = _method("SoTL-EMA", _after_an_epoch(moving_sum))
