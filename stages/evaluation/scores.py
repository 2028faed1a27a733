"""Scores of every method on one trial's test architectures: NAP2's, and what the `baselines` stage has found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.evaluation.rows import method_name, method_names
from stages.experiment import Experiment
from stages.nap2.models import plan
from stages.nap2.models.plan import ModelKey
from stages.nap2.models.predict import FrozenPredictor, predict
from stages.nap2.models.sequences import read_sequences
from stages.recording.config import RecordingConfig
from stages.scoring import results
from stages.scoring.results import BEFORE_TRAINING, Result
from stages.scoring.sources import Source
from stages.search_spaces.chosen import classes_of
from stages.search_spaces.space import count_with_duplicate
from stages.splits.config import SplitsConfig


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
    source: Source
    source_trial: int

    @property
    def keys(self) -> list[ModelKey]:
        """The trial's models."""
        return [
            key for key in plan.predictors(self.source.experiment.settings) if key.trial == self.source_trial
        ]


def score(trial: Trial) -> tuple[dict[str, Any], dict[str, str]]:
    """Compute the contents of the trial's score store, and why methods lack scores.

    Returns:
        Contents by variable of `storage_schema.schema.SCORES`; one line by method.
    """
    target, sizes = trial.target, trial.source.experiment.settings(SplitsConfig).train_sizes
    split = target.split(trial.target_trial)
    steps = target.settings(RecordingConfig).steps
    names = method_names(trial.source.experiment, target)
    found = np.full((len(names), len(sizes), len(split.test), len(steps) - 1), np.nan)
    for key in trial.keys:
        found[names.index(method_name(key)), sizes.index(key.size)] = _model_scores(trial, key, split.test)
    scored = results.of_trial(target, trial.source.name, trial.source_trial)
    for result in scored:
        which = [sizes.index(result.size)] if result.size else range(len(sizes))
        _fill(found[names.index(result.method)], which, result)
    notes = results.notes(target, trial.source.name, {trial.source_trial: scored})
    contents = {
        "predictor": names,
        "size": sizes,
        "index": split.test,
        "architecture": [target.architectures[i] for i in split.test],
        "snapshot": range(1, len(steps)),
        "step": steps[1:],
        "label": [split.labels[i] for i in split.test],
        "score": found,
    }
    return contents, notes


def _fill(found: NDArray[np.float64], sizes: Sequence[int], result: Result) -> None:
    """Put a result into (size, architecture, snapshot); what follows no trace is the same at every snapshot."""
    for size in sizes:
        for snapshot, scores in zip(result.snapshots, result.scores, strict=True):
            if snapshot == BEFORE_TRAINING:
                found[size] = scores[:, None]
            else:
                found[size, :, snapshot - 1] = scores


def count_twins(trial: Trial) -> dict[str, int]:
    """Count, by train size, the test architectures with an isomorphic twin in its train set (R19, R22)."""
    split = trial.source.experiment.split(trial.source_trial)
    tested = trial.target.split(trial.target_trial).test
    there, here = classes_of(trial.source.experiment), classes_of(trial.target)
    return {
        size: count_with_duplicate([here[i] for i in tested], [there[i] for i in train])
        for size, train in split.train.items()
    }


def _model_scores(trial: Trial, key: ModelKey, test: Sequence[int]) -> NDArray[np.float64]:
    """Return scores (architecture, snapshot)."""
    count = len(trial.target.settings(RecordingConfig).steps) - 1
    if not trial.source.in_domain:
        return predict(trial.source.experiment, key, trial.target, test, count)
    scores = FrozenPredictor(trial.source.experiment, key).scores(
        read_sequences(trial.source.experiment, key, test)
    )
    return np.broadcast_to(scores, (len(scores), count))
