"""NASWOT (Mellor et al. 2021): how many ReLUs tell two images apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stages.zero_cost.batch import Batch
from stages.zero_cost.kernels import agreements, log_determinant
from stages.zero_cost.relus import relus_by_block
from stages.zero_cost.scratch import scratch_copy


def naswot(network: nn.Module, batch: Batch) -> dict[str, float]:
    """Return the log-determinant of the kernel: the number of ReLUs, one an edge, that two images agree in."""
    mine = scratch_copy(network, learns=False)
    kernel = np.zeros((len(batch.images), len(batch.images)))

    def count(module: nn.Module, arguments: tuple[Tensor, ...], output: Any) -> None:  # noqa: ARG001
        kernel[...] += agreements(arguments[0])

    for relus in relus_by_block(mine):
        for relu in relus:
            relu.register_forward_hook(count)
    with torch.no_grad():
        mine(batch.images)
    return {"naswot": log_determinant(kernel)}
