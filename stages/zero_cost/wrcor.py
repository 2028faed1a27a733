"""Weighted response correlation (Jing et al. 2025): how alike images are at each ReLU, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np

from stages.zero_cost.kernels import Kernel, correlations, log_determinant
from stages.zero_cost.proxy import Batch, Column, Proxy, Subject
from stages.zero_cost.relus import relus_by_block
from stages.zero_cost.scratch import scratch_copy

if TYPE_CHECKING:
    from torch import Tensor, nn


def wrcor(subject: Subject, batch: Batch) -> dict[str, float]:
    """Return log det Σ 2^block (|correlations of inputs| + |correlations of gradients|), over all ReLUs.

    The correlations are between images, of a ReLU's input and of the cross-entropy's gradient to that input
    through this ReLU alone. A matrix with a constant row is left out, as in the published code.
    """
    from torch.nn import functional

    mine = scratch_copy(subject, watched=True)
    kernel = np.zeros((len(batch.images), len(batch.images)))
    for block, relus in enumerate(relus_by_block(mine, subject.space)):
        for relu in relus:
            relu.register_forward_pre_hook(_watch(kernel, 2.0**block))
    functional.cross_entropy(mine(batch.images), batch.labels).backward()  # type: ignore[no-untyped-call]
    return {"wrcor": log_determinant(kernel)}


def _watch(kernel: Kernel, weight: float) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
    def add(values: Tensor) -> None:
        found = np.abs(correlations(values))
        if np.isfinite(found).all():
            kernel[...] += weight * found

    def hook(module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:  # noqa: ARG001
        add(arguments[0])
        # Several ReLUs may read one node: a copy gets the gradient through this one, and may be changed in place.
        own = arguments[0].clone()
        if own.requires_grad:
            own.register_hook(add)  # type: ignore[no-untyped-call]
        return (own,)

    return hook


WRCOR: Final = Proxy(
    name="wrcor",
    columns=(
        Column(
            name="wrcor",
            meaning="log-determinant of the |correlations| between images at each ReLU, values and gradients, "
            "a block's weight twice the one before",
        ),
    ),
    source="Jing et al. 2025",
    compute=wrcor,
)
