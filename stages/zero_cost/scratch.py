"""Copies of a network to work on, and its layers: no proxy touches the network it is given."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from stages.zero_cost.proxy import Subject

if TYPE_CHECKING:
    from torch import Tensor, nn


def scratch_copy(subject: Subject, *, learns: bool = True, watched: bool = False) -> nn.Module:
    """Return a copy of the network in train mode, without gradients.

    Args:
        subject: Its network stays as it is, with its buffers.
        learns: Whether gradients of the weights will be asked for; else they are not computed.
        watched: Whether hooks look at it: each module is then run once, whatever memory that takes.
    """
    mine = copy.deepcopy(subject.network)
    mine.zero_grad(set_to_none=True)
    if watched:
        subject.space.unroll(mine)
    return mine.train().requires_grad_(learns)


def layer_gradients(value: Tensor, network: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Return each layer's weight and its gradient of a scalar, zeros where the layer is unreachable (R23)."""
    import torch

    from stages.search_spaces.build import layer_weights

    weights = layer_weights(network)
    found = torch.autograd.grad(value, weights, allow_unused=True, materialize_grads=True)
    return [(weight.detach(), gradient) for weight, gradient in zip(weights, found, strict=True)]


def kaiming_normal(network: nn.Module, seed: int) -> nn.Module:
    """Return a copy with Kaiming-normal fan-in weights, zero biases and fresh BatchNorms (Lee & Ham 2024).

    Args:
        network: Stays as it is; what its layers are decides the draws, in registration order.
        seed: Of the generator that they are drawn from.
    """
    import torch
    from torch import nn

    mine = copy.deepcopy(network)
    numbers = torch.Generator().manual_seed(seed)
    for module in mine.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            drawn = torch.empty(module.weight.shape)  # on the CPU: the same numbers on any device
            nn.init.kaiming_normal_(drawn, mode="fan_in", nonlinearity="relu", generator=numbers)
            with torch.no_grad():
                module.weight.copy_(drawn)
                if module.bias is not None:
                    module.bias.zero_()
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    return mine
