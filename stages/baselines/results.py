"""What the markers of the `baselines` stage say, as arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np

from stages.baselines import proxies, tasks
from stages.baselines.method import Floats
from stages.baselines.registry import LC_PFN, METHODS
from stages.baselines.tasks import BEFORE_TRAINING, Task
from stages.evaluation import metrics
from stages.evaluation.tables import MISSING
from stages.settings import identity_settings
from stages.sources import Source, digests, sources, target_trial
from stages.stage import Experiment, Input
from storage_schema import markers, write
from storage_schema.splits import read_by

STAGE = "baselines"
FORM = 2
"""Of what a marker says; one of another form is computed again."""
NOT_SCORED = "not scored; run --stage baselines, or see: pipeline status"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One finished index.

    Attributes:
        scores: (snapshots, tested architectures), higher is better; NaN: none.
        notes: By snapshot, why a method has no scores there.
        fit_seconds: (snapshots,); NaN where nothing was fitted.
        query_seconds: (snapshots,) of scoring one architecture, its training aside; NaN where nothing was scored.
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
    """Read the finished indices of a trial; a damaged one, or of other settings or inputs, is passed over.

    Raises:
        MarkerError: A marker is whole, and its result is of another form.
    """
    origin = next(each for each in sources(experiment) if each.name == source)
    found = [
        _read(experiment, origin, index, task) for index, task in tasks.of_trial(experiment, source, trial)
    ]
    return [result for result in found if result is not None]


def notes(experiment: Experiment, source: str, found: Mapping[int, Sequence[Result]]) -> dict[str, str]:
    """Return by method why there are empty cells, a reason a line.

    Args:
        experiment: Whose test architectures are scored.
        source: Name of the source.
        found: What `of_trial` returned, by trial.
    """
    said: dict[str, dict[str, dict[int, None]]] = {}  # by method and reason, the snapshots

    def say(method: str, why: str, snapshot: int = BEFORE_TRAINING) -> None:
        said.setdefault(method, {}).setdefault(why, {})[snapshot] = None

    for trial, results in found.items():
        done = {result.index for result in results}
        for index, task in tasks.of_trial(experiment, source, trial):
            if index not in done:
                say(task.method, NOT_SCORED)
        for result in results:
            for snapshot, scores in zip(result.task.snapshots, result.scores, strict=True):
                if snapshot in result.notes:
                    say(result.task.method, result.notes[snapshot], snapshot)
                elif np.isnan(scores).all():
                    say(result.task.method, f"no network of trial {trial} has a score", snapshot)
                elif metrics.is_constant(scores):
                    say(result.task.method, f"one score for all of trial {trial}: no order", snapshot)
    steps = experiment.config.recording.steps
    return {
        method: "\n".join(
            _at([steps[k] for k in where if k != BEFORE_TRAINING]) + why for why, where in reasons.items()
        )
        for method, reasons in said.items()
    }


def _at(steps: Sequence[int]) -> str:
    return f"at {', '.join(map(str, steps))} mb: " if steps else ""


def note_lines(notes: Sequence[Mapping[str, str]]) -> list[str]:
    """Return what `notes` said, of one or more trials, as a line a method, each reason once."""
    reasons: dict[str, dict[str, None]] = {}
    for each in notes:
        for method, why in each.items():
            reasons.setdefault(method, {}).update(dict.fromkeys(why.splitlines()))
    return [f"{MISSING} {method}: {'; '.join(why)}" for method, why in reasons.items()]


def remarks(experiment: Experiment) -> list[str]:
    """Return a line a method that is to be read with care at some snapshots, and why."""
    config, found = experiment.config, []
    for name in config.baselines.chosen:
        said = {step: METHODS[name].remark(step) for step in config.recording.steps[1:]}
        where = [step for step, text in said.items() if text]
        if where:
            found.append(f"{name}: {_at(where)}{said[where[0]]}")
    return found


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
    method, baselines = METHODS[task.method], experiment.config.baselines
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


def decided_by(experiment: Experiment, source: Source, task: Task, *, before_keys: bool = False) -> str:
    """Return SHA-256 of all that decides a task's scores: a result of anything else is of another time."""
    content = {
        "settings": settings(experiment, source, task, before_keys=before_keys),
        "tested": digests(experiment, split_tested(experiment, task, before_keys=before_keys)),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _is_decided(experiment: Experiment, source: Source, task: Task, marker: markers.Marker) -> bool:
    """Whether all that decides a task's scores is as it was; see `decided_by`."""
    found = marker.result.get("decided_by")
    return any(found == decided_by(experiment, source, task, before_keys=way) for way in (False, True))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _read(experiment: Experiment, source: Source, index: int, task: Task) -> Result | None:
    path = Input(STAGE, index, str(task)).marker(experiment.layout)
    marker = markers.load_if_readable(path)
    if marker is None or not _is_decided(experiment, source, task, marker):
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
