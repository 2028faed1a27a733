"""The interface of a search space: everything that the pipeline asks of a family of networks.

A space of one's own is a subclass in a module of one's own, named by `architectures.space = "package.module:Class"`
(docs/extending.md). No torch is imported here: plans and stores are made without it where a space can do so.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from stages.search_spaces.errors import SpaceError
from stages.search_spaces.graph import CellForm, CellGraph

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class ImageTask:
    """What a network is built for: images of `channels` x `image_size` x `image_size`, told apart in `classes`."""

    classes: int
    image_size: int
    channels: int = 3

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            SpaceError: One is not a positive whole number.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value < 1:
                raise SpaceError(f"{field.name} = {value!r} is not a whole number of at least 1")


@dataclass(frozen=True, kw_only=True)
class LayerSummary:
    """The weight of one Conv2d or Linear.

    Attributes:
        name: Qualified name of the module in the built network.
        units: Output filters or neurons.
        reachable: Whether the layer has a path to the network's output (R23).
    """

    name: str
    units: int
    reachable: bool = True


@dataclass(frozen=True, kw_only=True)
class NetworkSummary:
    """A network as its layers and its costs.

    Attributes:
        layers: Every Conv2d and Linear in module registration order (R1), unreachable ones too.
        parameters: Trainable parameters.
        flops: Operations of one image's forward pass, by the convention of the space.
    """

    layers: tuple[LayerSummary, ...]
    parameters: int
    flops: int


class SearchSpace(ABC):
    """A family of networks, each named by an architecture string.

    Args:
        channels: Width of the networks, what `architectures.channels` says; a space without such a number ignores it.
        cells_per_stage: Their depth, what `architectures.cells_per_stage` says; the same.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Raised when the same string gives another network; part of the identity where it is not 1."""
    cell_form: ClassVar[CellForm | None] = None
    """Of the graphs that `graph` returns."""

    def __init__(self, channels: int = 16, cells_per_stage: int = 5) -> None:
        self.channels, self.cells_per_stage = channels, cells_per_stage

    @abstractmethod
    def draw(self, number: int, rng: np.random.Generator, known: Collection[str] | None) -> list[str]:
        """Draw different architectures: of two numbers, the smaller one's are the first of the larger one's.

        Args:
            number: How many; fewer are returned where there are no more.
            rng: All randomness comes from it.
            known: Only these are drawn; None: any.
        """

    @abstractmethod
    def parse(self, text: str) -> str:
        """Check an architecture string and return it in normal form.

        Raises:
            SpaceError: It names no network of the space.
        """

    @abstractmethod
    def build(self, architecture: str, task: ImageTask, seed: int) -> nn.Module:
        """Build a network in float32 on the CPU, images (N, channels, side, side) to logits (N, classes).

        Its initial weights follow from the seed alone. `stages.search_spaces.build` calls this with torch's global
        generator seeded, so that PyTorch's default initial weights need no further step.
        """

    def summarize(self, architecture: str, task: ImageTask) -> NetworkSummary:
        """Return layers, parameters and FLOPs; unless overridden, of a network built without memory.

        FLOPs are then the multiply-accumulates of its Conv2d and Linear modules.
        """
        from stages.search_spaces.build import summarize_built

        return summarize_built(self, architecture, task)

    @abstractmethod
    def max_layers(self, task: ImageTask) -> int:
        """Return the largest number of layers of any network of the space."""

    def isomorphism_class(self, architecture: str) -> str:
        """Return a text that architectures share which compute the same function."""
        return architecture

    def graph(self, architecture: str) -> CellGraph | None:
        """Return the cell that methods read which look at nothing else; None: they have no row for this space."""
        return None

    def cell_features(self, architecture: str) -> Mapping[str, float] | None:
        """Return numbers that describe the cell, the same names for every cell; None where there is no graph.

        Parameters and FLOPs among them are those of the default width and depth and of 32x32 images in ten classes, so
        that a cell has the same features in the source and the target of a transfer.
        """
        graph, form = self.graph(architecture), self.cell_form
        if graph is None or form is None:
            return None
        from stages.search_spaces.cell_features import graph_features

        costs = summary(type(self)(), architecture, ImageTask(classes=10, image_size=32))
        return graph_features(form, graph, costs.parameters, costs.flops)

    def blocks(self, network: nn.Module) -> Sequence[nn.Module]:
        """Return the stem and the blocks up to the head, each called with what the one before returned.

        Unless overridden it is the network alone; methods that look at blocks then have no row.
        """
        return (network,)

    def unroll(self, network: nn.Module) -> None:
        """Change a network in place so that hooks see each module once per pass; by default it is so already."""

    def separate_relus(self, network: nn.Module) -> None:
        """Change a network in place so that each convolution has a ReLU module of its own, as published proxies count.

        The function stays the same. By default nothing is changed.
        """


class EnumerableSpace(SearchSpace):
    """A space whose architectures are numbered, which gives `draw`."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of architectures."""

    @abstractmethod
    def architecture(self, number: int) -> str:
        """Return the architecture string with a number from 0 to `len(self) - 1`."""

    def draw(self, number: int, rng: np.random.Generator, known: Collection[str] | None) -> list[str]:
        """Return the first ones of a permutation of the whole space."""
        drawn: list[str] = []
        for each in rng.permutation(len(self)):
            if len(drawn) == number:
                break
            text = self.architecture(int(each))
            if known is None or text in known:
                drawn.append(text)
        return drawn


@lru_cache(maxsize=20_000)
def summary(space: SearchSpace, architecture: str, task: ImageTask) -> NetworkSummary:
    """Return what `space.summarize` says, computed once: a space may have to build the network for it."""
    return space.summarize(architecture, task)


@lru_cache(maxsize=8)
def isomorphism_classes(space: SearchSpace, architectures: tuple[str, ...]) -> tuple[str, ...]:
    """Return the class of each architecture, with the name of its space."""
    return tuple(f"{space.name} {space.isomorphism_class(each)}" for each in architectures)


def count_with_duplicate(tested: Sequence[str], trained: Collection[str]) -> int:
    """Count the isomorphism classes of tested architectures, one each, that are among those of trained ones (R19)."""
    there = set(trained)
    return sum(each in there for each in tested)
