"""A frozen model at work: from maps of any experiment that it fits to scores; labels are never read (R18)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stages.experiment import Experiment
from stages.nap2.feature_maps.maps import snapshots
from stages.nap2.models import card, plan
from stages.nap2.models.config import BigruConfig
from stages.nap2.models.encode import Encoders, check_fits, model_digests
from stages.nap2.models.plan import ModelKey
from stages.nap2.models.predictor import Predictor
from stages.nap2.models.sequences import fused
from stages.recording.config import RecordingConfig
from stages.training.determinism import choose_device, make_deterministic

BATCH = 1024


class FrozenPredictor:
    """A trained predictor in eval mode.

    Args:
        source: The experiment it was trained in.
        key: Which of its models.

    Raises:
        ModelError: It is not there, or not as it was written.
    """

    def __init__(self, source: Experiment, key: ModelKey) -> None:
        config = source.settings(BigruConfig)
        make_deterministic(config.threads)
        folder = plan.predictor_folder(source, key)
        trained = plan.predicted_by(source.settings, key)
        self.card = card.read_card(folder, model_digests(source, trained))
        self._device, self._dtype = choose_device(config.device), getattr(torch, self.card["dtype"])
        network = Predictor()
        card.read_weights(folder, self.card, network)
        self._network = network.to(self._device, self._dtype).eval().requires_grad_(False)

    @torch.no_grad()
    def scores(self, sequences: NDArray[Any]) -> NDArray[np.float64]:
        """Return the score of every prefix: (architecture, snapshot, 256) to (architecture, snapshot)."""
        values = torch.from_numpy(sequences).to(self._device, self._dtype)
        found = [self._of_length(values, length) for length in range(1, values.shape[1] + 1)]
        return np.stack(found, axis=1)

    def _of_length(self, values: torch.Tensor, length: int) -> NDArray[np.float64]:
        starts = range(0, len(values), BATCH)
        parts = [
            self._network(part, torch.full((len(part),), length))
            for part in (values[start : start + BATCH, :length] for start in starts)
        ]
        found: NDArray[np.float64] = torch.cat(parts).double().cpu().numpy()
        return found


def predict(
    source: Experiment, key: ModelKey, target: Experiment, architectures: Sequence[int], count: int
) -> NDArray[np.float64]:
    """Score architectures of an experiment by a model of another, with everything frozen.

    Args:
        source: Where the model was trained.
        key: Which of its models.
        target: Where the maps are; only they are read, neither labels nor splits.
        architectures: Indices in the target's plan.
        count: Snapshots that may be used.

    Returns:
        Scores (architecture, count), column k from the first k + 1 snapshots.

    Raises:
        ModelError: The model is damaged, or does not fit the target.
        StoreError: A snapshot is not collected.
    """
    predictor, encoders = FrozenPredictor(source, key), Encoders.of_experiment(source, key)
    check_fits({"predictor": predictor.card, **encoders.cards}, target)
    found = dict(encoders.embed(target, architectures, count))
    values = np.stack([found[index] for index in architectures])
    scores = predictor.scores(fused(values, key.variant))
    # A model that sees the initial snapshot alone says the same at every budget.
    return np.broadcast_to(scores, (len(scores), count)) if key.variant.snapshots == "initial" else scores


def most_snapshots(target: Experiment, key: ModelKey) -> int:
    """Return how many snapshots of the target a model can use."""
    return len(snapshots(key.variant, len(target.settings(RecordingConfig).steps)))
