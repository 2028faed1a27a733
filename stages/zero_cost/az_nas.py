"""AZ-NAS (Lee & Ham 2024): what each block of a network does to features, and to gradients on their way back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import numpy as np

from stages.training.order import generator
from stages.zero_cost.proxy import Batch, Column, Proxy, Subject
from stages.zero_cost.scratch import scratch_copy

if TYPE_CHECKING:
    from torch import Tensor

LOG_OFFSET = 1e-8
INVERSE_OFFSET = 1e-6


def az_nas(subject: Subject, batch: Batch) -> dict[str, float]:
    """Return expressivity and progressivity (nats) and trainability.

    Blocks are the stem and what follows up to the head, in train mode. The network's own weights are used: the
    paper prescribes Kaiming-normal ones. Trainability is −inf where a block only passes its input on.

    Raises:
        ValueError: The search space names no blocks, or they give no feature maps.
    """
    import torch

    stem, *blocks = subject.space.blocks(scratch_copy(subject, learns=False))
    if not blocks:
        raise ValueError(f"search space {subject.space.name} names no blocks of its networks")
    with torch.no_grad():
        features = stem(batch.images)
    entropies, passed = [entropy(features)], []
    for position, block in enumerate(blocks):
        signs = _signs(batch.seed, position)
        features, score = through(block, features, signs)
        entropies.append(entropy(features))
        passed.append(score)
    return {
        "expressivity": sum(entropies),
        "progressivity": float(np.diff(entropies).min()),  # NaN stays NaN
        "trainability": mean(passed),
    }


def entropy(features: Tensor) -> float:
    """Return −Σ p log p, p the normalized eigenvalues of the channels' covariance over images and places.

    Args:
        features: (B, C, H, W).

    Raises:
        ValueError: They have another shape.
    """
    import torch

    if features.dim() != 4:
        raise ValueError(f"a block gives features of shape {tuple(features.shape)}, not (B, C, H, W)")
    rows = features.detach().movedim(1, -1).flatten(0, -2).double()
    rows = rows - rows.mean(0)
    values = torch.linalg.eigvalsh(rows.T @ rows / len(rows)).clamp(min=0)
    shares = values / values.sum()
    return float(-(shares * torch.log(shares + LOG_OFFSET)).sum())


def through(
    block: Callable[[Tensor], Tensor], features: Tensor, signs: Callable[[Tensor], Tensor]
) -> tuple[Tensor, float]:
    """Run one block on (B, C, H, W); returns its output, detached, and the score of random gradients through it."""
    import torch

    inputs = features.detach().requires_grad_()
    output = block(inputs.clone())  # a block may begin with a ReLU in place
    arriving = signs(output)
    if not output.requires_grad:  # nothing passes
        return output, passage(arriving, torch.zeros_like(inputs))
    leaving = torch.autograd.grad(output, inputs, arriving, materialize_grads=True, allow_unused=True)[0]
    return output.detach(), passage(arriving, leaving)


def passage(arriving: Tensor, leaving: Tensor) -> float:
    """Return 2 − s − 1/(s + 1e-6), s the spectral norm of the mean outer product; −inf where both are the same.

    Args:
        arriving: Gradient at a block's output, (B, C, H, W).
        leaving: The gradient it gives at the input, (B, C', kH, kW); a stride k is unfolded into channels.
    """
    import torch
    from torch.nn import functional

    if arriving.shape == leaving.shape and torch.equal(arriving, leaving):
        return -math.inf
    stride = leaving.shape[-1] // arriving.shape[-1]
    rows, columns = (
        each.movedim(1, -1).flatten(0, -2) for each in (functional.pixel_unshuffle(leaving, stride), arriving)
    )
    product = (rows.T @ columns / len(rows)).double()
    norm = float(torch.linalg.matrix_norm(product, ord=2))
    return 2 - norm - 1 / (norm + INVERSE_OFFSET)


def mean(scores: Iterable[float]) -> float:
    """Return the mean; one −inf makes it −inf."""
    found = list(scores)
    return sum(found) / len(found)


def _signs(seed: int, block: int) -> Callable[[Tensor], Tensor]:
    import torch

    def draw(like: Tensor) -> Tensor:
        drawn = generator(seed, "zero-cost signs", block).integers(0, 2, like.shape, dtype=np.int8)
        return torch.from_numpy(2 * drawn - 1).to(like)

    return draw


AZ_NAS: Final = Proxy(
    name="az_nas",
    columns=(
        Column(
            name="expressivity",
            meaning="sum over blocks of the entropy of the channels' principal components",
            unit="nat",
        ),
        Column(
            name="progressivity",
            meaning="smallest growth of that entropy from one block to the next",
            unit="nat",
        ),
        Column(
            name="trainability",
            meaning="mean over blocks of 2 - s - 1/s, s: spectral norm of how gradients pass the block",
        ),
    ),
    source="Lee and Ham 2024",
    compute=az_nas,
    weights="kaiming_normal",
    images="noise",
)
