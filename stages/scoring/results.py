"""What the methods compared with have scored, as the markers of the `baselines` stage say it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stages.experiment import Experiment, Part
from stages.recording.config import RecordingConfig
from stages.scoring.metrics import Floats, is_constant
from stages.scoring.tables import MISSING
from stages.stage import Input
from storage_schema import markers

STAGE: Final = "baselines"
BEFORE_TRAINING: Final = 0
"""The snapshot of methods that follow no trace."""
NOT_SCORED: Final = "not scored; run --stage baselines, or see: pipeline status"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One finished index.

    Attributes:
        key: What it is.
        size: Train size; empty where no label is used.
        snapshots: Those that are scored.
        scores: (snapshots, tested architectures), higher is better; NaN: none.
        notes: By snapshot, why a method has no scores there.
        fit_seconds: (snapshots,); NaN where nothing was fitted.
        query_seconds: (snapshots,) of scoring one architecture, its training aside; NaN where nothing was scored.
        digest: Of the scores.
    """

    index: int
    key: str
    method: str
    size: str
    snapshots: tuple[int, ...]
    scores: Floats
    notes: Mapping[int, str]
    fit_seconds: Floats
    query_seconds: Floats
    digest: str


def digest(result: Mapping[str, Any]) -> str:
    """Return SHA-256 of what a result says of the architectures, the time it took aside."""
    content = {name: result[name] for name in ("task", "snapshots", "scores", "notes")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def methods(experiment: Experiment) -> dict[str, str]:
    """Return the methods chosen, in the order of the tables, each with its kind."""
    return {part.facts["method"]: part.facts["kind"] for part in experiment.parts(STAGE)}


def references(experiment: Experiment, source: str, trial: int) -> list[Input]:
    """Return the indices of what every table carries, as inputs."""
    found = experiment.parts(STAGE, source=source, trial=trial, kind="reference")
    return [_input(part) for part in found]


def of_trial(experiment: Experiment, source: str, trial: int) -> list[Result]:
    """Read the finished indices of a trial; a damaged one, or of other settings or inputs, is passed over.

    Raises:
        MarkerError: A marker is whole, and its result is of another form.
    """
    found = experiment.parts(STAGE, source=source, trial=trial)
    return [_read(experiment, part, marker) for part in found if (marker := part.finished()) is not None]


def notes(experiment: Experiment, source: str, found: Mapping[int, Sequence[Result]]) -> dict[str, str]:
    """Return by method why there are empty cells, one reason per line.

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
        for part in experiment.parts(STAGE, source=source, trial=trial):
            if part.index not in done:
                say(part.facts["method"], NOT_SCORED)
        for result in results:
            for snapshot, scores in zip(result.snapshots, result.scores, strict=True):
                if snapshot in result.notes:
                    say(result.method, result.notes[snapshot], snapshot)
                elif np.isnan(scores).all():
                    say(result.method, f"no network of trial {trial} has a score", snapshot)
                elif is_constant(scores):
                    say(result.method, f"one score for all of trial {trial}: no order", snapshot)
    steps = experiment.settings(RecordingConfig).steps
    return {
        method: "\n".join(
            _at([steps[k] for k in where if k != BEFORE_TRAINING]) + why for why, where in reasons.items()
        )
        for method, reasons in said.items()
    }


def _at(steps: Sequence[int]) -> str:
    return f"at {', '.join(map(str, steps))} mb: " if steps else ""


def note_lines(notes: Sequence[Mapping[str, str]]) -> list[str]:
    """Return what `notes` said, of one or more trials, as a line per method, each reason once."""
    reasons: dict[str, dict[str, None]] = {}
    for each in notes:
        for method, why in each.items():
            reasons.setdefault(method, {}).update(dict.fromkeys(why.splitlines()))
    return [f"{MISSING} {method}: {'; '.join(why)}" for method, why in reasons.items()]


def remarks(experiment: Experiment) -> list[str]:
    """Return a line per method that is to be read with care at some snapshots, and why."""
    found = {}
    for part in experiment.parts(STAGE):
        said: Mapping[int, str] = part.facts["remarks"]
        if said:
            found[part.facts["method"]] = f"{_at(list(said))}{next(iter(said.values()))}"
    return [f"{method}: {text}" for method, text in found.items()]


def _input(part: Part) -> Input:
    return Input(part.stage, part.index, part.facts["key"])


def _read(experiment: Experiment, part: Part, marker: markers.Marker) -> Result:
    facts, result = part.facts, marker.result
    with markers.reading(_input(part).marker(experiment.layout)):
        scores: NDArray[Any] = np.array(result["scores"], dtype=np.float64)
        return Result(
            index=part.index,
            key=facts["key"],
            method=facts["method"],
            size=facts["size"],
            snapshots=tuple(facts["snapshots"]),
            scores=scores.reshape(len(facts["snapshots"]), -1),
            notes={int(snapshot): str(note) for snapshot, note in result["notes"].items()},
            fit_seconds=np.array(result["fit_seconds"], dtype=np.float64),
            query_seconds=np.array(result["query_seconds"], dtype=np.float64),
            digest=digest(result),
        )
