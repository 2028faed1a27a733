"""GradNorm and SNIP (Abdelfattah et al. 2021; Lee et al. 2019): the first gradient of the loss, in one pass."""

from __future__ import annotations

from typing import Final

from stages.zero_cost.proxy import Batch, Column, Proxy, Subject
from stages.zero_cost.scratch import layer_gradients, scratch_copy


def gradients(subject: Subject, batch: Batch) -> dict[str, float]:
    """Return the sum of the layers' gradient norms, and Σ |w · ∂L/∂w|, L the mean cross-entropy in nats."""
    import torch
    from torch.nn import functional

    mine = scratch_copy(subject)
    loss = functional.cross_entropy(mine(batch.images), batch.labels)
    found = layer_gradients(loss, mine)
    norms = torch.stack([gradient.norm() for _, gradient in found])
    saliency = torch.stack([(weight * gradient).abs().sum() for weight, gradient in found])
    return {"grad_norm": float(norms.sum()), "snip": float(saliency.sum())}


GRADIENTS: Final = Proxy(
    name="gradients",
    columns=(
        Column(
            name="grad_norm",
            meaning="sum over layers of the l2 norm of the loss's gradient",
            method="GradNorm",
        ),
        Column(
            name="snip",
            meaning="sum of |w dL/dw| over all weights",
            source="Lee et al. 2019, Abdelfattah et al. 2021",
            method="SNIP",
        ),
    ),
    source="Abdelfattah et al. 2021",
    compute=gradients,
)
