"""What the markers of the `baselines` stage say, as arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.baselines import tasks
from stages.baselines.method import Floats
from stages.baselines.registry import METHODS
from stages.baselines.tasks import BEFORE_TRAINING, Task
from stages.baselines.trace import epoch_mini_batches
from stages.sources import Source, digests, sources, target_trial
from stages.stage import Experiment, Input
from storage_schema import markers

STAGE = "baselines"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One finished index.

    Attributes:
        scores: (snapshots, tested architectures), higher is better; NaN: none.
        notes: By snapshot, why a method has no scores there.
        fit_seconds: (snapshots,).
        query_seconds: (snapshots,) of scoring one architecture, its training aside.
        digest: Of the scores.
    """

    index: int
    task: Task
    scores: Floats
    notes: Mapping[int, str]
    fit_seconds: Floats
    query_seconds: Floats
    digest: str


def digest(result: Mapping[str, Any]) -> str:
    """Return SHA-256 of what a result says of the architectures, the time it took aside."""
    content = {name: result[name] for name in ("task", "snapshots", "scores", "notes")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def of_trial(experiment: Experiment, source: str, trial: int) -> list[Result]:
    """Read the finished indices of a trial; a damaged one, or of another task or other splits, is passed over.

    Raises:
        MarkerError: A marker is whole, and its result is of another form.
    """
    origin = next(each for each in sources(experiment) if each.name == source)
    drawn = split_digests(experiment, origin, trial)
    found = [
        _read(experiment, index, task, drawn) for index, task in tasks.of_trial(experiment, source, trial)
    ]
    return [result for result in found if result is not None]


def notes(found: Iterable[Result], steps: Sequence[int]) -> dict[str, str]:
    """Return the first thing that each method lacked, with the mini-batch where it was missed."""
    first: dict[str, str] = {}
    for result in found:
        for snapshot, note in result.notes.items():
            at = f"at {steps[snapshot]} mb: " if snapshot != BEFORE_TRAINING else ""
            first.setdefault(result.task.method, f"{at}{note}")
    return first


def remarks(experiment: Experiment) -> list[str]:
    """Return a line a method that is to be read with care at some snapshots, and why."""
    config, found = experiment.config, []
    for name in config.baselines.chosen:
        said = {
            step: METHODS[name].remark(step, epoch_mini_batches(config))
            for step in config.recording.steps[1:]
        }
        where = [str(step) for step, text in said.items() if text]
        if where:
            found.append(f"{name} at {', '.join(where)} mb: {said[int(where[0])]}")
    return found


def split_digests(experiment: Experiment, source: Source, trial: int) -> list[dict[str, Any] | None]:
    """Return what decides who is tested and who trains."""
    drawn = ((experiment, target_trial(experiment, trial)), (source.experiment, trial))
    return [digests(each, Input("split", number)) for each, number in drawn]


def _read(
    experiment: Experiment, index: int, task: Task, drawn: list[dict[str, Any] | None]
) -> Result | None:
    path = experiment.layout.marker(STAGE, index)
    marker = markers.load_if_readable(path)
    if marker is None or (marker.result.get("task"), marker.result.get("splits")) != (str(task), drawn):
        return None
    with markers.reading(path):
        result = marker.result
        scores = np.array(result["scores"], dtype=np.float64).reshape(len(task.snapshots), -1)
        return Result(
            index=index,
            task=task,
            scores=scores,
            notes={int(snapshot): str(note) for snapshot, note in result["notes"].items()},
            fit_seconds=np.array(result["fit_seconds"], dtype=np.float64),
            query_seconds=np.array(result["query_seconds"], dtype=np.float64),
            digest=digest(result),
        )
