"""Reading the prefix that methods see from the stores of an experiment, and nothing beyond it (R21)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.baselines.config import BaselinesConfig
from stages.baselines.method import TRACE, Floats, Method, Prefix
from stages.baselines.proxies import read_scores
from stages.datasets.config import DataConfig
from stages.experiment import Experiment
from stages.recording.config import RecordingConfig
from stages.search_spaces.chosen import space_of, task_of
from stages.training.config import TrainingConfig
from stages.training.order import batches_per_epoch
from storage_schema.read import open_dynamics, reading


def read_prefix(
    experiment: Experiment, architectures: Sequence[int], snapshot: int, method: Method
) -> Prefix:
    """Read what a method needs of some architectures.

    Args:
        experiment: Whose stores are read.
        architectures: Indices in its plan; without any, no store is opened.
        snapshot: Number of the last snapshot that may be used; 0: nothing of the training.
        method: Decides which stores are opened.

    Raises:
        UnmetNeedError: Zero-cost proxies of some architectures are missing.
        StoreError: A store is not there or is damaged.
    """
    settings = experiment.settings
    steps = settings(RecordingConfig).steps[1 : snapshot + 1]
    loss, accuracy = np.empty((len(architectures), 0)), np.empty((len(architectures), 0))
    if method.needs & TRACE and steps and architectures:
        loss, accuracy = _curves(experiment, architectures, steps)
    images = settings(BaselinesConfig).epoch_images or settings(DataConfig).dataset.training_images
    epoch = batches_per_epoch(images, settings(TrainingConfig).batch_size)
    return Prefix(
        architectures=tuple(experiment.architectures[i] for i in architectures),
        space=space_of(experiment),
        task=task_of(settings),
        training_loss=loss,
        validation_accuracy=accuracy,
        epochs=np.array(steps, dtype=np.float64) / epoch,
        epoch_mini_batches=epoch,
        schedule_epochs=settings(TrainingConfig).epochs,
        zero_cost=read_scores(experiment, architectures)
        if "zero-cost" in method.needs and architectures
        else {},
    )


def _curves(
    experiment: Experiment, architectures: Sequence[int], steps: Sequence[int]
) -> tuple[Floats, Floats]:
    path = experiment.layout.dynamics
    curves = open_dynamics(path)["curves"]
    with reading(path):
        found = curves.isel(architecture=list(architectures)).sel(mini_batch=slice(1, steps[-1])).load()
        loss = found.sel(curve="training_loss").values.astype(np.float64)
        accuracy = found.sel(curve="validation_accuracy", mini_batch=list(steps)).values.astype(np.float64)
    return loss, accuracy
