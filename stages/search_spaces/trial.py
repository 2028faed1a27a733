"""Trying a search space before an experiment is made of it: what goes wrong later is found at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stages.search_spaces.errors import SpaceError
from stages.search_spaces.space import ImageTask, SearchSpace, summary

if TYPE_CHECKING:
    from torch import nn

TRIED = 3
"""Architectures that are built; one network says most of it."""


def try_space(space: SearchSpace, architectures: Sequence[str], task: ImageTask, seed: int) -> None:
    """Check an own space on the first architectures of a plan: strings, layers, determinism, the forward pass.

    Raises:
        SpaceError: The first thing that does not hold, and what would help.
    """
    if len(set(architectures)) < len(architectures):
        raise SpaceError(f"{space.name}.draw gives an architecture twice; draw different ones")
    for text in architectures[:TRIED]:
        try:
            if space.parse(text) != text:
                raise SpaceError(
                    f"{space.name}.parse({text!r}) is not the string that draw gave; return its normal form"
                )
            _try_one(space, text, task, seed)
        except SpaceError:
            raise
        except Exception as error:  # a user's code may raise anything
            line = next(iter(str(error).splitlines()), "")
            raise SpaceError(
                f"{space.name}: {text!r} cannot be built ({type(error).__name__}: {line})"
            ) from error


def _try_one(space: SearchSpace, text: str, task: ImageTask, seed: int) -> None:
    import torch

    from stages.search_spaces.build import build, layer_modules

    first, second = (build(space, text, task, seed) for _ in range(2))
    different = _first_difference(first, second)
    if different:
        raise SpaceError(
            f"{space.name} builds two different networks from {text!r} ({different}); "
            "let everything follow from the string and the seed"
        )
    said, there = summary(space, text, task), layer_modules(first)
    if [(each.name, each.units) for each in said.layers] != [(n, len(m.weight)) for n, m in there.items()]:
        raise SpaceError(
            f"{space.name}.summarize({text!r}) does not list the layers of the network that build gives"
        )
    if not 1 <= len(there) <= space.max_layers(task):
        raise SpaceError(
            f"{text!r} has {len(there)} layers, {space.name}.max_layers says {space.max_layers(task)}; correct it"
        )
    before = torch.default_generator.get_state()
    with torch.no_grad():
        logits = first.train()(torch.zeros(2, task.channels, task.image_size, task.image_size))
    if tuple(logits.shape) != (2, task.classes):
        raise SpaceError(
            f"{text!r} gives outputs of shape {tuple(logits.shape)} instead of (2, {task.classes})"
        )
    if not torch.equal(before, torch.default_generator.get_state()):
        torch.default_generator.set_state(before)
        raise SpaceError(
            f"{text!r} draws random numbers when it is run (dropout?), so no run could be repeated exactly"
        )


def _first_difference(first: nn.Module, second: nn.Module) -> str:
    """Name the first parameter or buffer that is not bit-equal."""
    ours, theirs = first.state_dict(), second.state_dict()
    if list(ours) != list(theirs):
        return "other parameters"
    return next((name for name, value in ours.items() if not value.equal(theirs[name])), "")
