"""Scores of every method on one trial's test architectures, NAP2 and the references of R26 alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.architectures.genotype import Genotype, with_twin
from stages.architectures.layers import flops, layers, parameters
from stages.baselines.cell_features import cell_feature_matrix
from stages.baselines.cell_trees import CellTrees
from stages.models import plan
from stages.models.plan import ModelKey
from stages.models.predict import FrozenPredictor, predict
from stages.models.sequences import read_sequences
from stages.stage import Experiment
from storage_schema import splits

REFERENCES = ("parameters", "FLOPs", "layers", "cell trees")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What is scored: test architectures of a target by models of one trial of a source.

    Attributes:
        target: Whose test architectures are scored (R26).
        target_trial: Which of its splits.
        source: Whose models and training labels are used; the target itself in-domain.
        source_trial: Which of its trials.
    """

    target: Experiment
    target_trial: int
    source: Experiment
    source_trial: int

    @property
    def in_domain(self) -> bool:
        """Whether source and target are one experiment."""
        return self.source.identity == self.target.identity

    @property
    def keys(self) -> list[ModelKey]:
        """The trial's models."""
        return [key for key in plan.predictors(self.source.config) if key.trial == self.source_trial]


def method_name(key: ModelKey) -> str:
    """Name a variant of the model in tables."""
    return "NAP2" if key.variant.name == "maps" else f"NAP2 {key.variant.name}"


def methods(keys: Sequence[ModelKey]) -> list[str]:
    """Return the names of all methods, models first."""
    return [*dict.fromkeys(map(method_name, keys)), *REFERENCES]


def score(trial: Trial) -> dict[str, Any]:
    """Compute the contents of the trial's score store (`storage_schema.schema.SCORES`)."""
    target, sizes = trial.target, trial.source.config.splits.train_sizes
    split = _read_split(target, trial.target_trial)
    steps = target.config.recording.steps
    names = methods(trial.keys)
    found = np.full((len(names), len(sizes), len(split.test), len(steps) - 1), np.nan)
    for key in trial.keys:
        found[names.index(method_name(key)), sizes.index(key.size)] = _model_scores(trial, key, split.test)
    for name, values in _references(trial, split.test).items():
        found[names.index(name)] = values
    return {
        "predictor": names,
        "size": sizes,
        "index": split.test,
        "architecture": [target.architectures[i] for i in split.test],
        "snapshot": range(1, len(steps)),
        "step": steps[1:],
        "label": [split.labels[i] for i in split.test],
        "score": found,
    }


def count_twins(trial: Trial) -> dict[str, int]:
    """Count, by train size, the test architectures with an isomorphic twin in its train set (R19, R22)."""
    split = _read_split(trial.source, trial.source_trial)
    tested = _read_split(trial.target, trial.target_trial).test
    names = [trial.target.architectures[i] for i in tested]
    return {
        size: with_twin(names, [trial.source.architectures[i] for i in train])
        for size, train in split.train.items()
    }


def _read_split(experiment: Experiment, trial: int) -> splits.SplitFiles:
    return splits.read(experiment.layout.split(trial), len(experiment.architectures))


def _model_scores(trial: Trial, key: ModelKey, test: Sequence[int]) -> NDArray[np.float64]:
    """Return scores (architecture, snapshot)."""
    count = len(trial.target.config.recording.steps) - 1
    if not trial.in_domain:
        return predict(trial.source, key, trial.target, test, count)
    scores = FrozenPredictor(trial.source, key).scores(read_sequences(trial.source, key, test))
    return np.broadcast_to(scores, (len(scores), count))


def _references(trial: Trial, test: Sequence[int]) -> Mapping[str, NDArray[np.float64]]:
    """Return scores by name, (size or 1, architecture, 1)."""
    shape = trial.target.config.network_shape
    genotypes = [Genotype.parse(trial.target.architectures[i]) for i in test]
    counts = {
        "parameters": [parameters(g, shape) for g in genotypes],
        "FLOPs": [flops(g, shape) for g in genotypes],
        "layers": [len(layers(g, shape)) for g in genotypes],
    }
    found = {name: np.array(values, np.float64)[None, :, None] for name, values in counts.items()}
    names = [trial.target.architectures[i] for i in test]
    return {**found, "cell trees": _cell_trees(trial, names)[:, :, None]}


def _cell_trees(trial: Trial, names: Sequence[str]) -> NDArray[np.float64]:
    """Fit to the source's training labels, one fit a train size; returns (size, architecture)."""
    source = trial.source
    split = _read_split(source, trial.source_trial)
    seed = plan.model_seed(source.config, trial.source_trial, "cell trees")
    tested, rows = cell_feature_matrix(names), []
    for size in source.config.splits.train_sizes:
        train = split.of_size(size)
        features = cell_feature_matrix([source.architectures[i] for i in train])
        trees = CellTrees.fit(features, np.array([split.labels[i] for i in train]), seed)
        rows.append(trees.predict(tested))
    return np.stack(rows)
