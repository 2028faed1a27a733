"""The indices of the `baselines` stage: which method, fitted to what, scores which snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from stages.baselines.registry import METHODS
from stages.sources import Source, sources
from stages.stage import Experiment

BEFORE_TRAINING = 0
"""The snapshot of methods that follow no trace."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One index.

    Attributes:
        source: Name of where training architectures and labels come from.
        method: Name of the method.
        trial: Of the source.
        size: Train size; empty where no label is used, and one fit serves all sizes.
        snapshots: Those that are scored, one fit each.
    """

    source: str
    method: str
    trial: int
    size: str
    snapshots: tuple[int, ...]

    def __str__(self) -> str:
        """Name source, trial, method, size and snapshot."""
        size = f", train size {self.size}" if self.size else ""
        at = f", snapshot {self.snapshots[0]}" if len(self.snapshots) == 1 and self.snapshots[0] else ""
        return f"{self.method}, {self.source}, trial {self.trial}{size}{at}"


def count(experiment: Experiment) -> int:
    """Count the indices."""
    return sum(len(tasks) for _, tasks in blocks(experiment))


def find(experiment: Experiment, index: int) -> tuple[Source, Task]:
    """Return what an index is."""
    for source, tasks in blocks(experiment):
        if index < len(tasks):
            return source, tasks[index]
        index -= len(tasks)
    raise IndexError(index)


def of_trial(experiment: Experiment, source: str, trial: int) -> list[tuple[int, Task]]:
    """Return the indices and tasks of one trial of a source."""
    everything = enumerate(task for _, tasks in blocks(experiment) for task in tasks)
    return [(index, task) for index, task in everything if (task.source, task.trial) == (source, trial)]


def indices(experiment: Experiment, methods: Sequence[str]) -> list[int]:
    """Return the indices of some methods."""
    everything = enumerate(task for _, tasks in blocks(experiment) for task in tasks)
    return [index for index, task in everything if task.method in methods]


def blocks(experiment: Experiment) -> list[tuple[Source, tuple[Task, ...]]]:
    """Return every source with its tasks, in the order of their indices."""
    config = experiment.config
    return [
        (
            source,
            _of_source(
                source.name,
                config.baselines.chosen,
                source.experiment.config.splits.num_trials,
                source.experiment.config.splits.train_sizes,
                config.recording.snapshots,
            ),
        )
        for source in sources(experiment)
    ]


@lru_cache(maxsize=64)
def _of_source(
    source: str, methods: tuple[str, ...], trials: int, sizes: tuple[str, ...], snapshots: int
) -> tuple[Task, ...]:
    """Return the tasks of a source, method by method."""
    return tuple(
        Task(source=source, method=name, trial=trial, size=size, snapshots=scored)
        for name in methods
        for trial in range(trials)
        for size in (sizes if METHODS[name].learned else ("",))
        for scored in _scored(name, snapshots)
    )


def _scored(name: str, snapshots: int) -> list[tuple[int, ...]]:
    """Learned methods are fitted anew at each snapshot, an index each; the others take all in one index."""
    method = METHODS[name]
    if not method.follows_trace:
        return [(BEFORE_TRAINING,)]
    every = range(1, snapshots + 1)
    return [(k,) for k in every] if method.learned else [tuple(every)]
