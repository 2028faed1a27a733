"""The `bigru` stage: one predictor for each (variant, trial, train size); torch only inside `run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.experiment import Experiment
from stages.nap2.models import card, plan
from stages.nap2.models.config import BigruConfig
from stages.nap2.models.estimate import seconds_of_sequences
from stages.nap2.models.plan import ModelKey
from stages.settings import identity_settings
from stages.stage import Estimate, Execution, Input, Outcome, Stage

ROUGH_BYTES = 2.6e6
"""Of a predictor and its card."""


class BigruStage(Stage):
    """Predictors, each trained on its trial's training architectures (R16)."""

    name = "bigru"

    def num_tasks(self, experiment: Experiment) -> int:
        """One index a predictor."""
        return len(plan.predictors(experiment.settings))

    def key(self, experiment: Experiment, index: int) -> str:
        """Name variant, trial and train size, as in `maps/0/700`."""
        return str(_key(experiment, index))

    def describe(self, experiment: Experiment, index: int) -> str:
        """Name variant, trial and train size."""
        return self.key(experiment, index)

    def estimate(self, experiment: Experiment, indices: Sequence[int]) -> Estimate:
        """Return what the training takes, and the weights."""
        seconds = seconds_of_sequences(experiment, experiment.settings(BigruConfig).epochs)
        return Estimate(seconds=seconds * len(indices), bytes=ROUGH_BYTES * len(indices))

    def settings(self, experiment: Experiment, index: int) -> Mapping[str, Any]:
        """Return the schedule and the model's name."""
        return {
            **identity_settings(experiment.settings(BigruConfig)),
            "model": self.describe(experiment, index),
        }

    def inputs(self, experiment: Experiment, index: int) -> Sequence[Input]:
        """The embeddings, and the split that says which are for training."""
        key = _key(experiment, index)
        return (plan.embedded(experiment.settings, key.embedded_by), plan.split_of(key))

    def files(self, experiment: Experiment, index: int) -> dict[str, Path]:
        """The predictor and its card."""
        return card.files(plan.predictor_folder(experiment, _key(experiment, index)))

    def run(self, experiment: Experiment, index: int, execution: Execution) -> Outcome:
        """Train one predictor."""
        from stages.nap2.bigru.fit import PredictorTraining
        from stages.nap2.models.sequences import read_sequences
        from stages.nap2.models.train import train_and_keep

        settings, key = experiment.settings, _key(experiment, index)
        split = experiment.split(key.trial)
        train, seed = split.of_size(key.size), plan.model_seed(settings, key.trial, "bigru")
        sequences = read_sequences(experiment, key, train)
        labels = [split.labels[i] for i in train]
        name = self.key(experiment, index)
        training = PredictorTraining(experiment, name, execution, sequences, labels, train, seed)
        return train_and_keep(
            training,
            experiment,
            key,
            execution,
            train=train,
            seed=seed,
            dtype=settings(BigruConfig).dtype,
            folder=plan.predictor_folder(experiment, key),
            facts={
                "model": "predictor",
                "kinds": list(key.variant.kinds),
                "settings": dict(self.settings(experiment, index)),
            },
        )


def _key(experiment: Experiment, index: int) -> ModelKey:
    return plan.predictors(experiment.settings)[index]
