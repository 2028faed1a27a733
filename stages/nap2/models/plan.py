"""Which models an experiment has, and what all of them say of themselves.

There is one autoencoder pair and one predictor for each (variant, trial, train size) (R24).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from stages.datasets.config import DataConfig
from stages.experiment import Experiment
from stages.nap2.feature_maps.config import InputsConfig
from stages.nap2.feature_maps.variants import Variant
from stages.recording.config import RecordingConfig
from stages.settings import Settings
from stages.splits.config import SplitsConfig
from stages.stage import Input
from stages.training.config import TrainingConfig
from stages.training.order import generator
from storage_schema import schema
from storage_schema.splits import read_by


@dataclass(frozen=True)
class ModelKey:
    """What distinguishes a model from the others of its experiment."""

    variant: Variant
    trial: int
    size: str

    def __str__(self) -> str:
        """Name the model, as in `maps/0/700`: variant, trial and train size."""
        return f"{self.variant.key}/{self.trial}/{self.size}"

    @property
    def embedded_by(self) -> ModelKey:
        """The model whose encoders embed for this one."""
        return ModelKey(self.variant.encoded_by, self.trial, self.size)


@lru_cache(maxsize=16)
def encoders(config: Settings) -> tuple[ModelKey, ...]:
    """Return the autoencoder pairs, in the order of their indices."""
    return _keys(config(InputsConfig).encoded, config)


@lru_cache(maxsize=16)
def predictors(config: Settings) -> tuple[ModelKey, ...]:
    """Return the predictors, in the order of their indices."""
    return _keys(config(InputsConfig).chosen, config)


def trained(config: Settings, key: ModelKey, kind: str) -> Input:
    """Return one autoencoder as an input."""
    index = encoders(config).index(key) * len(schema.KINDS) + schema.KINDS.index(kind)
    return Input("cae", index, cae_key(key, kind))


def embedded(config: Settings, key: ModelKey) -> Input:
    """Return what a pair of encoders has embedded as an input."""
    return Input("embed", encoders(config).index(key), str(key))


def predicted_by(config: Settings, key: ModelKey) -> Input:
    """Return a predictor as an input."""
    return Input("bigru", predictors(config).index(key), str(key))


def split_of(key: ModelKey) -> Input:
    """Return the split that a model is trained by: other train sizes do not concern it."""
    return Input("split", key.trial, reads=read_by(key.size))


def cae_key(key: ModelKey, kind: str) -> str:
    """Name one autoencoder."""
    return f"{key}/{kind}"


def cae_folder(experiment: Experiment, key: ModelKey, kind: str) -> Path:
    """Return the folder of one encoder."""
    return experiment.layout.model(str(key)) / kind


def predictor_folder(experiment: Experiment, key: ModelKey) -> Path:
    """Return the folder of a predictor."""
    return experiment.layout.model(str(key)) / "predictor"


def model_seed(config: Settings, trial: int, purpose: str) -> int:
    """Draw the seed of one of a trial's models from the experiment's (R17)."""
    return int(generator(config(TrainingConfig).seed, purpose, trial).integers(2**31))


def facts(
    experiment: Experiment, key: ModelKey, train: Sequence[int], identity: str, dtype: str
) -> dict[str, Any]:
    """Return what the card of every model says: what it is, what it fits, and what it was trained on.

    Args:
        experiment: The experiment.
        key: Variant, trial and train size.
        train: Indices of the architectures it was trained on.
        identity: Of the task.
        dtype: Of its weights.
    """
    names = "\n".join(experiment.architectures[i] for i in train)
    return {
        "identity": identity,
        "variant": key.variant.key,
        "trial": key.trial,
        "size": key.size,
        "dtype": dtype,
        "schema_version": experiment.schema_version,
        "features": list(schema.FEATURES),
        "layer_cap": experiment.settings(InputsConfig).layer_cap,
        "data": {
            "experiment": experiment.identity,
            "name": experiment.settings(DataConfig).name,
            "architectures": len(train),
            "architectures_sha256": hashlib.sha256(names.encode()).hexdigest(),
            "steps": list(experiment.settings(RecordingConfig).steps),
        },
    }


def _keys(variants: tuple[Variant, ...], config: Settings) -> tuple[ModelKey, ...]:
    trials, sizes = range(config(SplitsConfig).num_trials), config(SplitsConfig).train_sizes
    return tuple(ModelKey(v, trial, size) for v in variants for trial in trials for size in sizes)


def reproducible(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a card says of a training: what is the same whenever and wherever it is repeated.

    Where, and in how many seconds, is in the done-marker: were it in the card, a model trained again to the same
    bits would make everything that follows from it stale.
    """
    return {name: value for name, value in result.items() if name not in ("history", "seconds")}
