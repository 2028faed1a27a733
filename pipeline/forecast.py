"""What a run would take: seconds, files and bytes, from finished indices where there are some."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.array_spec import format_array
from pipeline.entries import Entries
from pipeline.run import RunOptions, missing_indices, worker_count
from stages.experiment import Experiment
from stages.stage import Stage
from storage_schema import legacy, markers

SAMPLE = 32
"""So many finished indices stand for all."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Expected cost of some indices.

    Attributes:
        measured: Whether it comes from finished indices of this experiment, or is the stages' rough estimate.
        seconds: Of work, for one worker.
    """

    measured: bool
    seconds: float
    files: int
    bytes: int


def dry_run(
    experiment: Experiment, stages: list[Stage], wanted: list[int] | None, options: RunOptions
) -> dict[str, dict[str, Any]]:
    """Return, for each stage, what would run and what it would take; nothing is written."""
    report = {}
    for stage in stages:
        indices = missing_indices(experiment, stage, wanted)
        expected = forecast(experiment, stage, indices)
        hands = max(1, worker_count(experiment, options, len(indices)))
        report[stage.name] = {
            "indices": len(indices),
            "array": format_array(indices) if indices else "",
            "workers": hands,
            "hours": round(expected.seconds / hands / 3600, 3),
            "files": expected.files,
            "megabytes": round(expected.bytes / 1e6, 1),
            "measured": expected.measured,
        }
    return report


def forecast(experiment: Experiment, stage: Stage, indices: list[int]) -> Forecast:
    """Estimate the cost of indices of a stage: from finished ones of their kind, else as the stage does."""
    there = sorted(Entries(experiment, stage).marked())
    done, wanted = (_by_kind(experiment, stage, found) for found in (there, indices))
    seconds, measured = 0.0, bool(wanted)
    for kind, of_kind in wanted.items():
        taken = [_taken(experiment, stage, index) for index in done.get(kind, ())[:SAMPLE]]
        known = [each for each in taken if each is not None]
        measured &= bool(known)
        seconds += (
            len(of_kind) * statistics.mean(known) if known else stage.estimate(experiment, of_kind).seconds
        )
    some = [index for of_kind in done.values() for index in of_kind][:SAMPLE]
    size = (
        len(indices) * statistics.mean(_written(experiment, stage, index) for index in some)
        if some
        else stage.estimate(experiment, indices).bytes
    )
    files = 1 + (len(stage.files(experiment, indices[0])) if indices else 0)  # and the marker
    return Forecast(measured=measured, seconds=seconds, files=len(indices) * files, bytes=round(size))


def _by_kind(experiment: Experiment, stage: Stage, indices: Iterable[int]) -> dict[str, list[int]]:
    found = defaultdict(list)
    for index in indices:
        found[stage.kind(experiment, index)].append(index)
    return found


def _taken(experiment: Experiment, stage: Stage, index: int) -> float | None:
    """Return how long a finished index took; None where its marker does not say."""
    path = _marker(experiment, stage, index)
    marker = markers.load(path)
    with markers.reading(path):
        seconds = None if marker is None else stage.seconds_taken(marker.result)
        if seconds is not None and not 0 <= float(seconds) < math.inf:
            raise ValueError(f"it took {seconds} seconds")
        return None if seconds is None else float(seconds)


def _written(experiment: Experiment, stage: Stage, index: int) -> int:
    """Return the bytes of an index on disk, its marker included."""
    paths = [*stage.files(experiment, index).values(), _marker(experiment, stage, index)]
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*"))]
    return sum(file.stat().st_size for file in files if file.is_file())


def _marker(experiment: Experiment, stage: Stage, index: int) -> Path:
    return legacy.marker_in_force(experiment.layout, stage.name, index, stage.key(experiment, index))
