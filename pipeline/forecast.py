"""What a run would take: seconds, files and bytes, from finished indices where there are some."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from dataclasses import dataclass
from typing import Any

from pipeline.array_spec import format_array
from pipeline.entries import Entries
from pipeline.run import RunOptions, missing_indices, worker_count
from stages.collect.stage import CollectStage
from stages.datasets.config import TRAINING_IMAGES
from stages.search_spaces.nasbench201.genotype import Genotype
from stages.search_spaces.nasbench201.layers import flops, layers
from stages.stage import Experiment, Stage
from storage_schema import legacy, markers, schema
from storage_schema.write import TASK_ARRAYS, object_path

ROUGH_FLOPS_PER_SECOND = 8e9
"""Of one 2020s CPU core in small convolutions; only used before anything was measured."""
ROUGH_BYTES_PER_VALUE = 3.8
"""Of one float32 statistic after compression."""
ROUGH_MAP_FLOPS = 0.55e9
"""Of one map through an autoencoder, forward and backward."""
ROUGH_MATRIX_FLOPS_PER_SECOND = 5e10
"""Of one 2020s CPU core in matrix products."""
ROUGH_STEP_SECONDS = 5e-5
"""Of one step of one sequence through the predictor, forward and backward."""
ROUGH_MODEL_BYTES = {"cae": 36.7e6, "bigru": 2.6e6}
SAMPLE = 32


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Expected cost of some indices.

    Attributes:
        measured: Whether it comes from finished indices of this experiment, or is a rough estimate.
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
    """Estimate the cost of indices of a stage."""
    if stage.name == "labels":
        return Forecast(
            measured=False, seconds=_rough_labels(experiment, indices), files=len(indices), bytes=0
        )
    if not isinstance(stage, CollectStage):
        return _derived(experiment, stage, indices)
    done = sorted(markers.done_indices(experiment.layout.markers(stage.name), stage.num_tasks(experiment)))[
        :SAMPLE
    ]
    if done:
        seconds = statistics.mean(_seconds(experiment, index) for index in done)
        size = statistics.mean(_bytes(experiment, index) for index in done)
    else:
        some = indices[:SAMPLE]
        seconds = (
            statistics.mean(_rough_seconds(experiment, i, _images(experiment)) for i in some) if some else 0
        )
        size = statistics.mean(_rough_bytes(experiment, i) for i in some) if some else 0
    n = len(indices)
    return Forecast(
        measured=bool(done), seconds=seconds * n, files=n * (len(TASK_ARRAYS) + 1), bytes=round(size * n)
    )


def _derived(experiment: Experiment, stage: Stage, indices: list[int]) -> Forecast:
    """Estimate a stage that reads the store: from finished indices of a kind, else by its models' operations."""
    done: dict[str, list[int]] = {}
    for index in sorted(Entries(experiment, stage).marked()):
        done.setdefault(stage.kind(experiment, index), []).append(index)
    wanted = Counter(stage.kind(experiment, index) for index in indices)
    seconds, measured = 0.0, bool(wanted)
    for kind, number in wanted.items():
        taken = [
            spent
            for i in done.get(kind, [])[:SAMPLE]
            if (spent := _measured(experiment, stage, i)) is not None
        ]
        measured &= bool(taken)
        seconds += number * (statistics.mean(taken) if taken else _rough_models(experiment, stage.name))
    some = [index for of_kind in done.values() for index in of_kind][:SAMPLE]
    size = statistics.mean(_written(stage, experiment, index) for index in some) if some else None
    return Forecast(
        measured=measured,
        seconds=seconds,
        files=len(indices) * (len(stage.files(experiment, 0)) + 1),
        bytes=round((ROUGH_MODEL_BYTES.get(stage.name, 0) if size is None else size) * len(indices)),
    )


def _measured(experiment: Experiment, stage: Stage, index: int) -> float | None:
    key = stage.key(experiment, index)
    path = legacy.marker_in_force(experiment.layout, stage.name, index, key)
    marker = markers.load(path)
    with markers.reading(path):
        if marker is None or "seconds" not in marker.result:
            return None
        return _duration(marker.result["seconds"])


def _duration(seconds: Any) -> float:
    if not 0 <= float(seconds) < math.inf:
        raise ValueError(f"it took {seconds} seconds")
    return float(seconds)


def _written(stage: Stage, experiment: Experiment, index: int) -> int:
    paths = stage.files(experiment, index).values()
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*"))]
    return sum(file.stat().st_size for file in files if file.is_file())


def _rough_models(experiment: Experiment, stage: str) -> float:
    """Seconds of one index on one core, before any was measured: operations by an epoch's maps or sequences."""
    config, networks = experiment.config, 0.7 * len(experiment.architectures)
    snapshots = config.recording.snapshots
    maps = networks * snapshots * config.cae.epochs
    rough = {
        "cae": maps * ROUGH_MAP_FLOPS / ROUGH_MATRIX_FLOPS_PER_SECOND,
        "embed": networks * snapshots * ROUGH_MAP_FLOPS / ROUGH_MATRIX_FLOPS_PER_SECOND,
        "bigru": networks * snapshots * config.bigru.epochs * snapshots * ROUGH_STEP_SECONDS,
    }
    return rough.get(stage, 1.0)


def _seconds(experiment: Experiment, index: int) -> float:
    path = experiment.layout.marker("collect", index)
    marker = markers.load(path)
    with markers.reading(path):
        return (
            0.0 if marker is None else _duration(sum(sum(part) for part in marker.result["seconds"].values()))
        )


def _bytes(experiment: Experiment, index: int) -> int:
    files = [object_path(experiment.layout.dynamics, name, index) for name in TASK_ARRAYS]
    files.append(experiment.layout.marker("collect", index))
    return sum(file.stat().st_size for file in files if file.exists())


def _images(experiment: Experiment) -> int:
    return experiment.config.recording.mini_batches * experiment.config.training.batch_size


def _rough_labels(experiment: Experiment, indices: list[int]) -> float:
    config = experiment.config
    if config.labels.source != "training" or not indices:
        return 0.0
    some = indices[:SAMPLE]
    images = config.labels.epochs * TRAINING_IMAGES[config.data.name]
    return statistics.mean(_rough_seconds(experiment, i, images) for i in some) * len(indices)


def _rough_seconds(experiment: Experiment, index: int, images: int) -> float:
    genotype = Genotype.parse(experiment.architectures[index])
    return 3 * images * flops(genotype, experiment.config.network_shape) / ROUGH_FLOPS_PER_SECOND


def _rough_bytes(experiment: Experiment, index: int) -> float:
    genotype = Genotype.parse(experiment.architectures[index])
    rows = sum(min(layer.units, 99) + 1 for layer in layers(genotype, experiment.config.network_shape))
    values = rows * len(schema.FEATURES) * len(experiment.config.recording.steps) * len(schema.KINDS)
    return values * ROUGH_BYTES_PER_VALUE
