"""What a baseline is: from a prefix of the recorded trace, and labels where it learns, to scores (R21).

A method is fitted to training architectures and then scores others; one that learns nothing ignores them. All of
its numbers are of the networks themselves and of what was recorded of them, so that every method reads the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stages.search_spaces.graph import CellGraph
from stages.search_spaces.space import ImageTask, NetworkSummary, SearchSpace, summary
from storage_schema.errors import UserError

Floats = NDArray[np.float64]
Kind = Literal["reference", "learning curve", "zero-cost", "cell", "hybrid"]
Need = Literal["training loss", "validation accuracy", "zero-cost"]
TRACE: frozenset[Need] = frozenset({"training loss", "validation accuracy"})


class UnmetNeedError(UserError, ValueError):
    """The prefix has not what a method needs; its scores are missing, and the message says why."""


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """What is known of n architectures before, and in the first mini-batches of, their training.

    Attributes:
        architectures: n architecture strings.
        space: What the architectures are of.
        task: What the networks that were trained are built for.
        training_loss: (n, mini-batches) nats; NaN from where a network diverged.
        validation_accuracy: (n, observations) fractions, one observation a snapshot, the oldest first.
        epochs: (observations,) epochs trained at each observation, fractions of an epoch too.
        epoch_mini_batches: Mini-batches of one epoch.
        schedule_epochs: Epochs of the whole schedule, after which labels are measured.
        zero_cost: (n,) by column of `stages.zero_cost.columns`, higher is better; NaN: no value.
    """

    architectures: tuple[str, ...]
    space: SearchSpace
    task: ImageTask
    training_loss: Floats
    validation_accuracy: Floats
    epochs: Floats
    epoch_mini_batches: int
    schedule_epochs: int
    zero_cost: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def networks(self) -> list[NetworkSummary]:
        """Layers, parameters and FLOPs of each network."""
        return [summary(self.space, each, self.task) for each in self.architectures]

    def graphs(self) -> list[CellGraph]:
        """Return the cell of each architecture.

        Raises:
            UnmetNeedError: The space has no cells.
        """
        found = [self.space.graph(each) for each in self.architectures]
        graphs = [graph for graph in found if graph is not None]
        if self.space.cell_form is None or len(graphs) < len(found):
            raise UnmetNeedError(
                f"search space {self.space.name} gives no graph of its cells, which it reads"
            )
        return graphs


Scorer = Callable[[Prefix], Floats]
"""Gives (n,) scores, higher is better; NaN: none for this architecture."""


def no_remark(_mini_batches: int) -> str:
    """Say nothing of the scores of any prefix."""
    return ""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to rank architectures.

    Attributes:
        name: In tables and on the command line.
        fit: Takes training architectures, their (n,) labels (fractions) and a seed; returns what scores others.
            Equal input gives equal scores. Raises `UnmetNeedError`.
        source: Authors and year, or in words where it comes from; shown to users.
        needs: What of the prefix it reads, besides the architectures.
        learned: Whether labels play a role; if not, one fit serves every train size.
        files: What the user has to bring, in a few words.
        columns: Zero-cost columns that it reads, for what a query costs.
        package: Optional package that has to be installed.
        install: The command that does so.
        version: Raised by who changes what the method does, so that its finished results are computed again.
        remark: Takes the mini-batches of a prefix; returns what its scores are to be read with, if anything.
    """

    name: str
    kind: Kind
    fit: Callable[[Prefix, Floats, int], Scorer]
    source: str
    needs: frozenset[Need] = frozenset()
    learned: bool = True
    files: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    package: str | None = None
    install: str = ""
    version: int = 1
    remark: Callable[[int], str] = no_remark

    @property
    def follows_trace(self) -> bool:
        """Whether scores change from snapshot to snapshot."""
        return bool(self.needs & TRACE)


def label_free(score: Scorer) -> Callable[[Prefix, Floats, int], Scorer]:
    """Make the `fit` of a method that learns nothing."""
    return lambda _train, _labels, _seed: score
