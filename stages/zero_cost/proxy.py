"""What a proxy is, what it is given and what it says of its columns; torch is left to the functions that compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from stages.search_spaces.space import ImageTask, SearchSpace

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The images that a proxy looks at.

    Attributes:
        images: float32 (B, C, H, W), normalized, on the network's device.
        labels: int64 (B,).
        seed: Of what a proxy draws besides.
    """

    images: Tensor
    labels: Tensor
    seed: int


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The network that a proxy looks at, which stays as it is, and what it is an instance of.

    Attributes:
        network: Images (B, C, H, W) to logits (B, classes).
        space: Knows the network's blocks and ReLUs.
        architecture: Its name in the space.
        task: What it was built for.
    """

    network: nn.Module
    space: SearchSpace
    architecture: str
    task: ImageTask


@dataclass(frozen=True, kw_only=True)
class Column:
    """One number of each network; higher is better.

    Attributes:
        name: In the store, and in what a proxy returns.
        meaning: What it is.
        unit: As in the store's other variables.
        source: Paper, by authors and year; unless said, the proxy's.
        method: Name of the method to compare with whose score it is; empty where it is only a part of others.
        proxy: Name of what computes it; the proxy says it.
    """

    name: str
    meaning: str
    unit: str = "1"
    source: str = ""
    method: str = ""
    proxy: str = ""


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """One pass over a network, which gives one column or several.

    Attributes:
        name: Of the pass; a column keeps its name and its proxy.
        columns: What it gives.
        source: Paper, by authors and year.
        compute: Returns values by column; a `ValueError` says why there are none.
        version: Raised when its numbers change: they alone are then computed again.
        weights: `collected` are those that training begins with; `kaiming_normal` some sources prescribe.
        images: `data` is the experiment's; `noise` is what the published figures of some were made with.
    """

    name: str
    columns: tuple[Column, ...]
    source: str
    compute: Callable[[Subject, Batch], Mapping[str, float]]
    version: int = 1
    weights: Literal["collected", "kaiming_normal"] = "collected"
    images: Literal["data", "noise"] = "data"

    def __post_init__(self) -> None:
        """Have every column say its proxy and its source."""
        told = (replace(each, proxy=self.name, source=each.source or self.source) for each in self.columns)
        object.__setattr__(self, "columns", tuple(told))
