"""The indices of the `baselines` stage: which method, fitted to what, scores which snapshots; and what decides it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from typing import Any

from stages.baselines import proxies
from stages.baselines.config import BaselinesConfig
from stages.baselines.registry import LC_PFN, METHODS
from stages.experiment import Experiment
from stages.recording.config import RecordingConfig
from stages.scoring.results import BEFORE_TRAINING
from stages.scoring.sources import Source, digests, sources, target_trial
from stages.settings import identity_settings
from stages.splits.config import SplitsConfig
from stages.stage import Input
from storage_schema import write
from storage_schema.splits import read_by

FORM = 2
"""Of what a marker says; one of another form is computed again."""


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


def indices(experiment: Experiment, methods: Sequence[str]) -> list[int]:
    """Return the indices of some methods."""
    everything = enumerate(task for _, tasks in blocks(experiment) for task in tasks)
    return [index for index, task in everything if task.method in methods]


def blocks(experiment: Experiment) -> list[tuple[Source, tuple[Task, ...]]]:
    """Return every source with its tasks, in the order of their indices."""
    settings = experiment.settings
    return [
        (
            source,
            _of_source(
                source.name,
                settings(BaselinesConfig).chosen,
                source.experiment.settings(SplitsConfig).num_trials,
                source.experiment.settings(SplitsConfig).train_sizes,
                settings(RecordingConfig).snapshots,
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


def settings(
    experiment: Experiment, source: Source, task: Task, *, before_keys: bool = False
) -> dict[str, Any]:
    """Return what decides a task's scores besides the split of the tested architectures.

    What learns nothing reads nothing of the source.

    Args:
        experiment: Whose architectures are tested.
        source: Whose architectures are learnt from.
        task: One index.
        before_keys: As identities had them before keys (`storage_schema.legacy`): with the source's whole split.
    """
    method, baselines = METHODS[task.method], experiment.settings(BaselinesConfig)
    read = (experiment, source.experiment) if method.learned else (experiment,)
    found: dict[str, Any] = {
        **identity_settings(baselines),
        "task": str(task),
        "form": FORM,
        "version": method.version,
    }
    if method.package:
        found["package"] = _version(method.package)
    if task.method == LC_PFN:
        weights = baselines.weights
        found["weights"] = write.digest(weights) if weights and weights.is_file() else None
        found["trusted"] = baselines.trust_lc_pfn_pickle
    if "zero-cost" in method.needs:
        found["zero-cost"] = [proxies.state(each) for each in read]
    if not source.in_domain and (method.learned or before_keys):
        learnt_from = Input("split", task.trial, reads=() if before_keys else read_by(task.size))
        found["split"] = digests(source.experiment, learnt_from)
    return found


def split_tested(experiment: Experiment, task: Task, *, before_keys: bool = False) -> Input:
    """Return the split of the tested architectures, without the train sizes that a task does not learn from."""
    reads = read_by(task.size) if task.size else ("test",)
    return Input("split", target_trial(experiment, task.trial), reads=() if before_keys else reads)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
