"""What hybrids read of the training loss: the sum over the last epoch's mini-batches (SoTL-E, Ru et al. 2021)."""

from __future__ import annotations

import numpy as np

from stages.baselines.method import Floats, Prefix, UnmetNeedError


def recent_loss(prefix: Prefix) -> Floats:
    """Return (n,) minus the loss summed over the last epoch's mini-batches, or over all where there are fewer.

    Higher is better; NaN where a network diverged.

    Raises:
        UnmetNeedError: No mini-batch has been trained.
    """
    losses = prefix.training_loss[:, -prefix.epoch_mini_batches :]
    if not losses.shape[1]:
        raise UnmetNeedError(
            "the training loss is needed, and no mini-batch is trained; take a later snapshot"
        )
    return np.asarray(-losses.sum(axis=1), dtype=np.float64)
