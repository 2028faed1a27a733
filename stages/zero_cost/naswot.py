"""NASWOT (Mellor et al. 2021): how many ReLUs tell two images apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from stages.zero_cost.kernels import agreements, log_determinant
from stages.zero_cost.proxy import Batch, Column, Proxy, Subject
from stages.zero_cost.relus import relus_by_block
from stages.zero_cost.scratch import scratch_copy

if TYPE_CHECKING:
    from torch import Tensor, nn


def naswot(subject: Subject, batch: Batch) -> dict[str, float]:
    """Return the log-determinant of the kernel: the number of ReLUs, one an edge, that two images agree in."""
    import torch

    mine = scratch_copy(subject, learns=False)
    kernel = np.zeros((len(batch.images), len(batch.images)))

    def count(module: nn.Module, arguments: tuple[Tensor, ...], output: Any) -> None:  # noqa: ARG001
        kernel[...] += agreements(arguments[0])

    for relus in relus_by_block(mine, subject.space):
        for relu in relus:
            relu.register_forward_hook(count)
    with torch.no_grad():
        mine(batch.images)
    return {"naswot": log_determinant(kernel)}


NASWOT: Final = Proxy(
    name="naswot",
    columns=(
        Column(
            name="naswot",
            meaning="log-determinant of the kernel of agreeing ReLUs between images",
            method="NASWOT",
        ),
    ),
    source="Mellor et al. 2021",
    compute=naswot,
)
