"""What the models take, roughly: by their operations, before anything was measured."""

from __future__ import annotations

from stages.experiment import Experiment
from stages.recording.config import RecordingConfig

ROUGH_MAP_FLOPS = 0.55e9
"""Of one map through an autoencoder, forward and backward."""
ROUGH_MATRIX_FLOPS_PER_SECOND = 5e10
"""Of one 2020s CPU core in matrix products."""
ROUGH_STEP_SECONDS = 5e-5
"""Of one step of one sequence through the predictor, forward and backward."""


def training_networks(experiment: Experiment) -> float:
    """Return about how many networks a model is trained on."""
    return 0.7 * len(experiment.architectures)


def seconds_of_maps(experiment: Experiment, epochs: int = 1) -> float:
    """Return the seconds that the maps of all snapshots of these networks take on one core."""
    maps = training_networks(experiment) * experiment.settings(RecordingConfig).snapshots * epochs
    return maps * ROUGH_MAP_FLOPS / ROUGH_MATRIX_FLOPS_PER_SECOND


def seconds_of_sequences(experiment: Experiment, epochs: int) -> float:
    """Return the seconds that the sequences of these networks take on one core, a step for each snapshot."""
    snapshots = experiment.settings(RecordingConfig).snapshots
    return training_networks(experiment) * snapshots * epochs * snapshots * ROUGH_STEP_SECONDS
