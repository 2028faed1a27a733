"""Jacobian covariance (Mellor et al. 2020): how differently a network sees the images of a batch."""

from __future__ import annotations

from typing import Final

import numpy as np

from stages.zero_cost.kernels import Kernel, correlations
from stages.zero_cost.proxy import Batch, Column, Proxy, Subject
from stages.zero_cost.scratch import scratch_copy

OFFSET = 1e-5


def jacov(subject: Subject, batch: Batch) -> dict[str, float]:
    """Return the score of the correlations between images of the gradients of Σ logits to the image."""
    import torch

    mine = scratch_copy(subject, learns=False)
    images = batch.images.detach().requires_grad_()
    total = mine(images.clone()).sum()  # a network may change its input in place
    if not total.requires_grad:
        raise ValueError("the output does not depend on the images")
    return {"jacov": spread(correlations(torch.autograd.grad(total, images)[0]))}


def spread(kernel: Kernel) -> float:
    """Return −Σ (log(v + 1e-5) + 1 / (v + 1e-5)) over the eigenvalues v of an (n, n) correlation matrix.

    It is largest, −n, where nothing correlates.
    """
    if not np.isfinite(kernel).all():
        raise ValueError("an image's gradient is constant")
    values = np.linalg.eigvalsh(kernel).clip(min=0) + OFFSET
    return -float(np.sum(np.log(values) + 1 / values))


JACOV: Final = Proxy(
    name="jacov",
    columns=(
        Column(
            name="jacov",
            meaning="-sum(log(v + 1e-5) + 1/(v + 1e-5)), v: eigenvalues of the correlations of input gradients",
            method="jacov",
        ),
    ),
    source="Mellor et al. 2020, Abdelfattah et al. 2021",
    compute=jacov,
)
