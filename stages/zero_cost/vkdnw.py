"""VKDNW (Týbl & Neumann 2025): how evenly a network knows its weights, by the spectrum of its Fisher matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from stages.zero_cost.proxy import Batch, Column, Proxy, Subject
from stages.zero_cost.scratch import scratch_copy

if TYPE_CHECKING:
    from torch import Tensor, nn

SMOOTHING: Final = 0.05
OFFSET: Final = 1e-10
Floats = NDArray[np.float64]


def vkdnw(subject: Subject, batch: Batch) -> dict[str, float]:
    """Return the entropy of the Fisher matrix's spectrum (nats) and the number of parameter tensors.

    The matrix is of the first weight of every parameter tensor, in eval mode.
    """
    jacobian, logits = jacobians(subject, batch.images)
    values = np.linalg.eigvalsh(fisher(jacobian, logits)).clip(min=0)
    return {
        "vkdnw_entropy": spectral_entropy(values),
        "vkdnw_tensors": float(len(list(subject.network.parameters()))),
    }


def fisher(jacobian: Floats, logits: Floats) -> Floats:
    """Return the mean over images of Jᵀ (diag p − p pᵀ) J, p the softmax smoothed by 5 %: (P, P).

    Args:
        jacobian: (B, classes, P), of the logits to P weights.
        logits: (B, classes).
    """
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    shares = shifted / shifted.sum(1, keepdims=True)
    shares = (1 - SMOOTHING) * shares + SMOOTHING / shares.shape[1]
    # With the mean taken off, diag p alone is left: no factor of a singular matrix is needed.
    centred = jacobian - np.einsum("bc,bcp->bp", shares, jacobian)[:, None]
    weighted = np.sqrt(shares)[:, :, None] * centred
    flat = weighted.reshape(-1, jacobian.shape[2])
    found: Floats = flat.T @ flat / len(logits)
    return found


def spectral_entropy(values: Floats) -> float:
    """Return −Σ q log q, q the nine deciles of the eigenvalues (10 %, …, 90 %), normalized."""
    deciles = np.quantile(values, np.arange(1, 10) / 10)
    shares = deciles / (deciles.sum() + OFFSET)
    return -float(np.sum(shares * np.log(shares + OFFSET)))


def jacobians(subject: Subject, images: Tensor) -> tuple[Floats, Floats]:
    """Return the logits' derivatives to the first weight of every parameter tensor, and the logits.

    In eval mode images do not mix, so one backward pass a class, to the modules' outputs alone, gives every
    image's derivatives: a first weight's follows from one channel of its module's input and gradient.

    Args:
        subject: Conv2d, BatchNorm2d and Linear hold all parameters of its network.
        images: (B, C, H, W).

    Returns:
        float64 (B, classes, P), zeros where a module is never run (R23); float64 (B, classes).
    """
    import torch

    mine = scratch_copy(subject, learns=False, watched=True).eval()
    visits = _follow(mine)
    logits = mine(images.detach().requires_grad_().clone())  # a network may change its input in place
    position = {name: place for place, (name, _) in enumerate(mine.named_parameters())}
    found = np.zeros((*logits.shape, len(position)))
    outputs = [visit.output for visit in visits]
    for kind in range(logits.shape[1]):
        given = torch.autograd.grad(
            logits[:, kind].sum(), outputs, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        for visit, gradient in zip(visits, given, strict=True):
            for name, derivative in visit.derivatives(gradient).items():
                found[:, kind, position[name]] += derivative.double().cpu().numpy()
    return found, logits.detach().double().cpu().numpy()


@dataclass(frozen=True)
class _Visit:
    """One run of a module that has parameters: what a first weight's derivative needs of its input."""

    name: str
    module: nn.Module
    seen: Tensor  # of the first channel, normalized in a BatchNorm: as the first weight meets it
    output: Tensor

    def derivatives(self, gradient: Tensor) -> dict[str, Tensor]:
        """Return (B,) derivatives to the first weight and the first bias, by the parameters' names."""
        first = gradient[:, :1].flatten(1)
        found = {f"{self.name}.weight": (self.seen.flatten(1) * first).sum(1)}
        if getattr(self.module, "bias", None) is not None:
            found[f"{self.name}.bias"] = first.sum(1)
        return found


def _follow(network: nn.Module) -> list[_Visit]:
    """Have modules that own parameters note each of their runs in the list returned."""
    visits: list[_Visit] = []
    owners = {name.rpartition(".")[0] for name, _ in network.named_parameters()}
    for name in owners:
        module = network.get_submodule(name)
        module.register_forward_hook(_note(visits, name, _reader(module)))
    return visits


def _note(visits: list[_Visit], name: str, read: Callable[[Any, Tensor], Tensor]) -> Callable[..., Tensor]:
    def hook(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if not output.requires_grad:
            output.requires_grad_()  # behind a constant the graph begins here
        visits.append(_Visit(name, module, read(module, arguments[0].detach()), output))
        return output.clone()  # what follows may change it in place

    return hook


def _reader(module: nn.Module) -> Callable[[Any, Tensor], Tensor]:
    from torch import nn

    readers: dict[type[nn.Module], Callable[[Any, Tensor], Tensor]] = {
        nn.Conv2d: _read_convolution,
        nn.BatchNorm2d: _read_norm,
        nn.Linear: _read_linear,
    }
    for kind, read in readers.items():
        if isinstance(module, kind):
            return read
    raise ValueError(
        f"{type(module).__name__} holds parameters; only Conv2d, BatchNorm2d and Linear are known"
    )


def _read_convolution(module: nn.Conv2d, x: Tensor) -> Tensor:
    """What weight (0, 0, 0, 0) meets: the first channel, from the padded corner on, at the stride."""
    from torch.nn import functional

    if isinstance(module.padding, str) or module.padding_mode != "zeros":
        raise ValueError(
            f"padding {module.padding!r}, {module.padding_mode}: only numbers of zeros are known"
        )
    rows, columns = module.padding
    padded = functional.pad(x[:, 0], (columns, columns, rows, rows))
    down, across = module.stride
    height, width = (
        side - dilation * (kernel - 1)
        for side, dilation, kernel in zip(padded.shape[1:], module.dilation, module.kernel_size, strict=True)
    )
    return padded[:, :height:down, :width:across].clone()


def _read_norm(module: nn.BatchNorm2d, x: Tensor) -> Tensor:
    if module.running_mean is None or module.running_var is None:
        raise ValueError("a BatchNorm2d has no running statistics")
    return (x[:, 0] - module.running_mean[0]) / (module.running_var[0] + module.eps).sqrt()


def _read_linear(module: nn.Linear, x: Tensor) -> Tensor:  # noqa: ARG001  as the others
    if x.dim() != 2:
        raise ValueError(f"a Linear is given shape {tuple(x.shape)}; only (images, features) is known")
    return x[:, :1].clone()


VKDNW: Final = Proxy(
    name="vkdnw",
    columns=(
        Column(
            name="vkdnw_entropy",
            meaning="entropy of the normalized deciles of the empirical Fisher matrix's eigenvalues",
            unit="nat",
        ),
        Column(
            name="vkdnw_tensors",
            meaning="number of parameter tensors, which orders networks before the entropy does",
        ),
    ),
    source="Tybl and Neumann 2025",
    compute=vkdnw,
    weights="kaiming_normal",
    images="noise",
)
