"""PNorm (Jing et al. 2025): the norms of the weights."""

from __future__ import annotations

import torch
from torch import nn

from stages.zero_cost.batch import Batch
from stages.zero_cost.scratch import layer_weights


def pnorm(network: nn.Module, batch: Batch) -> dict[str, float]:  # noqa: ARG001  it fits the registry
    """Return the sum of the layers' l2 norms, unreachable layers included (R23)."""
    return {"pnorm": float(torch.stack([weight.detach().norm() for weight in layer_weights(network)]).sum())}
