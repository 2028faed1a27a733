"""The `cae` stage: one autoencoder for each (variant, trial, train size, kind); torch only inside `run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.experiment import Experiment
from stages.nap2.feature_maps.config import InputsConfig
from stages.nap2.models import card, plan
from stages.nap2.models.config import CaeConfig
from stages.nap2.models.estimate import seconds_of_maps
from stages.nap2.models.plan import ModelKey
from stages.settings import identity_settings
from stages.stage import Estimate, Execution, Input, Outcome, Stage
from storage_schema import schema

ROUGH_BYTES = 36.7e6
"""Of an encoder and its card."""


class CaeStage(Stage):
    """Autoencoders, each fitted on its trial's training architectures alone (R15, R24)."""

    name = "cae"

    def num_tasks(self, experiment: Experiment) -> int:
        """Two kinds for each pair of encoders."""
        return len(plan.encoders(experiment.settings)) * len(schema.KINDS)

    def key(self, experiment: Experiment, index: int) -> str:
        """Name variant, trial, train size and kind, as in `maps/0/700/weights`."""
        return plan.cae_key(*_task(experiment, index))

    def describe(self, experiment: Experiment, index: int) -> str:
        """Name variant, trial, train size and kind."""
        key, kind = _task(experiment, index)
        return f"{key} {kind}"

    def estimate(self, experiment: Experiment, indices: Sequence[int]) -> Estimate:
        """Return what the training takes, and the weights."""
        seconds = seconds_of_maps(experiment, experiment.settings(CaeConfig).epochs)
        return Estimate(seconds=seconds * len(indices), bytes=ROUGH_BYTES * len(indices))

    def settings(self, experiment: Experiment, index: int) -> Mapping[str, Any]:
        """Return the schedule, the variant and the kind."""
        key, kind = _task(experiment, index)
        settings = experiment.settings
        return {
            **identity_settings(settings(CaeConfig)),
            **identity_settings(settings(InputsConfig)),
            "variant": key.variant.key,
            "trial": key.trial,
            "size": key.size,
            "kind": kind,
        }

    def inputs(self, experiment: Experiment, index: int) -> Sequence[Input]:
        """The trial's split."""
        return (plan.split_of(_task(experiment, index)[0]),)

    def files(self, experiment: Experiment, index: int) -> dict[str, Path]:
        """The encoder and its card; the decoder is discarded (paper C.7)."""
        return card.files(plan.cae_folder(experiment, *_task(experiment, index)))

    def run(self, experiment: Experiment, index: int, execution: Execution) -> Outcome:
        """Train one autoencoder and keep its encoder."""
        from stages.nap2.cae.fit import AutoencoderTraining
        from stages.nap2.feature_maps.maps import Maps
        from stages.nap2.models.train import train_and_keep

        settings, (key, kind) = experiment.settings, _task(experiment, index)
        split = experiment.split(key.trial)
        train, seed = split.of_size(key.size), plan.model_seed(settings, key.trial, f"cae {kind}")
        maps = Maps(
            experiment.layout.dynamics,
            kind,
            key.variant,
            experiment.architectures,
            settings(InputsConfig).layer_cap,
            settings(CaeConfig).scratch_megabytes,
        )
        name = self.key(experiment, index)
        training = AutoencoderTraining(experiment, name, execution, maps, train, split.validation, seed)
        return train_and_keep(
            training,
            experiment,
            key,
            execution,
            train=train,
            seed=seed,
            dtype=settings(CaeConfig).dtype,
            folder=plan.cae_folder(experiment, key, kind),
            facts={"model": "encoder", "kind": kind, "settings": dict(self.settings(experiment, index))},
        )


def _task(experiment: Experiment, index: int) -> tuple[ModelKey, str]:
    pair, kind = divmod(index, len(schema.KINDS))
    return plan.encoders(experiment.settings)[pair], schema.KINDS[kind]
