"""GradNorm and SNIP (Abdelfattah et al. 2021; Lee et al. 2019): the first gradient of the loss, in one pass."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from stages.zero_cost.batch import Batch
from stages.zero_cost.scratch import layer_gradients, scratch_copy


def gradients(network: nn.Module, batch: Batch) -> dict[str, float]:
    """Return the sum of the layers' gradient norms, and Σ |w · ∂L/∂w|, L the mean cross-entropy in nats."""
    mine = scratch_copy(network)
    loss = functional.cross_entropy(mine(batch.images), batch.labels)
    found = layer_gradients(loss, mine)
    norms = torch.stack([gradient.norm() for _, gradient in found])
    saliency = torch.stack([(weight * gradient).abs().sum() for weight, gradient in found])
    return {"grad_norm": float(norms.sum()), "snip": float(saliency.sum())}
