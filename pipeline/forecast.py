"""What a run would take: seconds, files and bytes, from finished indices where there are some."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from stages.architectures.genotype import Genotype
from stages.architectures.layers import flops, layers
from stages.collect.stage import CollectStage
from stages.stage import Experiment, Stage
from storage_schema import markers, schema
from storage_schema.write import TASK_ARRAYS, object_path

ROUGH_FLOPS_PER_SECOND = 8e9
"""Of one 2020s CPU core in small convolutions; only used before anything was measured."""
ROUGH_BYTES_PER_VALUE = 3.8
"""Of one float32 statistic after compression."""
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


def forecast(experiment: Experiment, stage: Stage, indices: list[int]) -> Forecast:
    """Estimate the cost of indices of a stage."""
    if not isinstance(stage, CollectStage):
        return Forecast(
            measured=False, seconds=_rough_labels(experiment, indices), files=len(indices), bytes=0
        )
    done = sorted(markers.done_indices(experiment.layout.markers(stage.name)))[:SAMPLE]
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


def _seconds(experiment: Experiment, index: int) -> float:
    marker = markers.load(experiment.layout.marker("collect", index))
    return 0.0 if marker is None else sum(sum(part) for part in marker.result["seconds"].values())


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
    epoch_images = {"digits": 1078, "svhn": 51280, "imagenet16_120": 151700}.get(config.data.name, 50000)
    some = indices[:SAMPLE]
    images = config.labels.epochs * epoch_images
    return statistics.mean(_rough_seconds(experiment, i, images) for i in some) * len(indices)


def _rough_seconds(experiment: Experiment, index: int, images: int) -> float:
    genotype = Genotype.parse(experiment.architectures[index])
    return 3 * images * flops(genotype, experiment.config.network_shape) / ROUGH_FLOPS_PER_SECOND


def _rough_bytes(experiment: Experiment, index: int) -> float:
    genotype = Genotype.parse(experiment.architectures[index])
    rows = sum(min(layer.units, 99) + 1 for layer in layers(genotype, experiment.config.network_shape))
    values = rows * len(schema.FEATURES) * len(experiment.config.recording.steps) * len(schema.KINDS)
    return values * ROUGH_BYTES_PER_VALUE
