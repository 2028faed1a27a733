"""Building a network from its space, the same for the same seed whatever ran before; and looking at one unbuilt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from stages.search_spaces.space import ImageTask, LayerSummary, NetworkSummary, SearchSpace


def layer_modules(network: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """Return every Conv2d and Linear by qualified name, in registration order (R1)."""
    return {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}


def build(space: SearchSpace, architecture: str, task: ImageTask, seed: int) -> nn.Module:
    """Build a network on the CPU; torch's global generators are seeded for it, and then as they were (R10)."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return space.build(architecture, task, seed)


def layer_weights(network: nn.Module) -> list[Tensor]:
    """Return the weight of every Conv2d and Linear, in registration order (R1), unreachable ones too (R23)."""
    return [module.weight for module in layer_modules(network).values()]


def summarize_built(space: SearchSpace, architecture: str, task: ImageTask) -> NetworkSummary:
    """Build a network on the meta device, run it forward and backward, and list its layers.

    A layer is reachable if its weight gets a gradient. FLOPs are multiply-accumulates of convolutions and linear maps.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        network = space.build(architecture, task, 0).to("meta").train()
        macs: dict[str, int] = {}
        layers = layer_modules(network)
        for name, module in layers.items():
            module.register_forward_hook(_count_into(macs, name))
        images = torch.zeros(2, task.channels, task.image_size, task.image_size)
        with torch.enable_grad():
            network(images).sum().backward()
    return NetworkSummary(
        layers=tuple(
            LayerSummary(name=name, units=len(module.weight), reachable=module.weight.grad is not None)
            for name, module in layers.items()
        ),
        parameters=sum(each.numel() for each in network.parameters() if each.requires_grad),
        flops=sum(macs.values()),
    )


def _count_into(macs: dict[str, int], name: str) -> Callable[..., None]:
    def hook(module: Any, _arguments: tuple[Tensor, ...], output: Tensor) -> None:
        places = output[0, 0].numel() if output.dim() == 4 else output[0].numel() // output.shape[-1]
        macs[name] = macs.get(name, 0) + module.weight.numel() * places

    return hook
