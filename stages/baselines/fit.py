"""Fitting one method and scoring with it, timed; needs torch for what it says of where it ran."""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import Any

import numpy as np

from stages.baselines.config import BaselinesConfig
from stages.baselines.method import Floats, Method, Scorer, UnmetNeedError
from stages.baselines.tasks import Task
from stages.baselines.trace import read_prefix
from stages.experiment import Experiment
from stages.nap2.models import plan
from stages.recording.config import RecordingConfig
from stages.scoring.results import BEFORE_TRAINING
from stages.scoring.sources import Source, target_trial
from stages.stage import Execution, Stopped
from stages.training.determinism import choose_device, fingerprint, make_deterministic, provenance

Seconds = tuple[float | None, float | None]


def fit_and_score(
    experiment: Experiment, source: Source, task: Task, execution: Execution
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return result and provenance for the marker; `stages.scoring.results` reads the result.

    Raises:
        Stopped: Asked to stop between two snapshots; the index is begun again by the next run.
    """
    start, settings = time.perf_counter(), experiment.settings
    make_deterministic(settings(BaselinesConfig).threads)
    method = settings(BaselinesConfig).method(task.method)
    tested = experiment.split(target_trial(experiment, task.trial)).test
    rows, notes, seconds = [], {}, []
    for position, snapshot in enumerate(task.snapshots):
        if execution.should_stop():
            raise Stopped(f"{task} is begun again by the next run")
        try:
            with execution.beating():  # a library's fit takes minutes and asks nobody
                scores, spent = _one(experiment, source, task, method, tested, snapshot)
        except UnmetNeedError as error:
            scores, spent = np.full(len(tested), np.nan), (None, None)
            notes[str(snapshot)] = str(error)
        rows.append([float(value) if np.isfinite(value) else None for value in scores])
        seconds.append(spent)
        execution.progress((position + 1) / len(task.snapshots), f"{position + 1} of {len(task.snapshots)}")
    result = {
        "task": str(task),
        "snapshots": list(task.snapshots),
        "scores": rows,
        "notes": notes,
        "fit_seconds": [fitted for fitted, _ in seconds],
        "query_seconds": [queried for _, queried in seconds],
        "seconds": round(time.perf_counter() - start, 2),
    }
    return result, provenance(fingerprint(choose_device("cpu")), [])


def _one(
    experiment: Experiment,
    source: Source,
    task: Task,
    method: Method,
    tested: tuple[int, ...],
    snapshot: int,
) -> tuple[Floats, Seconds]:
    """Return scores, seconds of the fit, and seconds of scoring one architecture."""
    scorer, fitted = _fit(experiment, source, task, method, snapshot)
    prefix = read_prefix(experiment, tested, snapshot, method)
    start = time.perf_counter()
    scores = np.asarray(scorer(prefix), dtype=np.float64)
    if scores.shape != (len(tested),):
        raise ValueError(f"{method.name} gave scores of shape {scores.shape} for {len(tested)} architectures")
    if np.isposinf(scores).any():
        raise ValueError(f"{method.name} gave an infinite score; NaN is that of a network without one")
    return scores, (round(fitted, 4), round((time.perf_counter() - start) / len(tested), 6))


def _fit(
    experiment: Experiment, source: Source, task: Task, method: Method, snapshot: int
) -> tuple[Scorer, float]:
    """Fit to the source's training architectures, as far as they were trained at the same mini-batch."""
    if method.package and find_spec(method.package) is None:
        raise UnmetNeedError(f"it needs the package {method.package}; run `{method.install}`")
    split = source.experiment.split(task.trial)
    train = split.of_size(task.size) if task.size else ()
    if train and snapshot != BEFORE_TRAINING:
        _check_steps(experiment, source.experiment, snapshot)
    prefix = read_prefix(source.experiment, train, snapshot, method)
    labels = np.array([split.labels[i] for i in train])
    seed = plan.model_seed(source.experiment.settings, task.trial, method.name)
    start = time.perf_counter()
    return method.fit(prefix, labels, seed), time.perf_counter() - start


def _check_steps(target: Experiment, source: Experiment, snapshot: int) -> None:
    ours, theirs = (
        target.settings(RecordingConfig).steps[: snapshot + 1],
        source.settings(RecordingConfig).steps[: snapshot + 1],
    )
    if ours != theirs:
        raise UnmetNeedError(f"the source has no snapshot {snapshot} at mini-batch {ours[-1]}")
