"""PNorm (Jing et al. 2025): the norms of the weights."""

from __future__ import annotations

from typing import Final

from stages.zero_cost.proxy import Batch, Column, Proxy, Subject


def pnorm(subject: Subject, batch: Batch) -> dict[str, float]:  # noqa: ARG001  as the others
    """Return the sum of the layers' l2 norms, unreachable layers included (R23)."""
    import torch

    from stages.search_spaces.build import layer_weights

    norms = [weight.detach().norm() for weight in layer_weights(subject.network)]
    return {"pnorm": float(torch.stack(norms).sum())}


PNORM: Final = Proxy(
    name="pnorm",
    columns=(Column(name="pnorm", meaning="sum over layers of the l2 norm of the weights", method="PNorm"),),
    source="Jing et al. 2025",
    compute=pnorm,
)
