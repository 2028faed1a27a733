"""SynFlow (Tanaka et al. 2020): how much flows through a network, without data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from stages.zero_cost.proxy import Batch, Column, Proxy, Subject
from stages.zero_cost.scratch import layer_gradients, scratch_copy

if TYPE_CHECKING:
    from torch import nn


def synflow(subject: Subject, batch: Batch) -> dict[str, float]:
    """Return log Σ |w · ∂R/∂w| over the weights of all layers.

    R is the sum of the outputs of one image of ones, with weights |w| and BatchNorm passed by, in float64:
    full-size networks reach e^100, beyond float32.
    """
    import torch
    from torch import nn

    mine = scratch_copy(subject).double()
    with torch.no_grad():
        for parameter in mine.parameters():
            parameter.abs_()
    for module in mine.modules():
        if isinstance(module, nn.BatchNorm2d):
            _make_identity(module)
    ones = torch.ones_like(batch.images[:1], dtype=torch.float64)
    flows = layer_gradients(mine(ones).sum(), mine)
    total = float(sum((weight * gradient).abs().sum() for weight, gradient in flows))
    return {"synflow": math.log(total) if total > 0 else -math.inf}


def _make_identity(norm: nn.BatchNorm2d) -> None:
    """Have the module give back its input, to the bit: mean 0, variance 1, scale 1, shift 0."""
    norm.reset_parameters()
    norm.eval().eps = 0.0


SYNFLOW: Final = Proxy(
    name="synflow",
    columns=(
        Column(
            name="synflow",
            meaning="log of the sum of |w dR/dw| of a linear network with weights |w| and an input of ones",
            method="SynFlow",
        ),
    ),
    source="Tanaka et al. 2020, Abdelfattah et al. 2021",
    compute=synflow,
)
