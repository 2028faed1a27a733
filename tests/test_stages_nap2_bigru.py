"""Training of the predictor: what it can learn, what it cannot, and what it refuses (R16)."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from pipeline.experiment import initialize
from stages.experiment import Experiment
from stages.nap2.bigru.fit import PredictorTraining, lengths_of
from stages.nap2.feature_maps.variants import VARIANTS
from stages.nap2.models.errors import LossError
from stages.nap2.models.sequences import fused
from stages.scoring.metrics import kendall
from stages.stage import Execution

TRAIN, TEST, SNAPSHOTS = 100, 100, 3
NOISE = np.sqrt(2 * (2 * TEST + 5) / (9 * TEST * (TEST - 1)))  # standard deviation of τ of independent ranks


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return initialize(
        tmp_path_factory.mktemp("bigru") / "e", "demo", ("bigru.epochs=8", "bigru.batch_size=16")
    )


def sequences(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings that drift in a direction of their own, the faster the better the network."""
    draws = np.random.default_rng(count + 1)
    labels = draws.uniform(0.3, 0.95, count)
    direction = np.random.default_rng(0).normal(size=256)
    steps = np.arange(1, SNAPSHOTS + 1)[None, :, None]
    values = labels[:, None, None] * steps * direction + draws.normal(size=(count, SNAPSHOTS, 256)) * 0.5
    return values.astype(np.float32), labels


def train(experiment: Experiment, values: np.ndarray, labels: np.ndarray) -> PredictorTraining:
    execution = Execution(
        identity="i", should_stop=lambda: False, guard=nullcontext, progress=lambda share, note="": None
    )
    training = PredictorTraining(
        experiment, 0, execution, values, labels.tolist(), range(len(values)), seed=3
    )
    training.work()
    return training


def tau(training: PredictorTraining) -> float:
    values, labels = sequences(TEST)
    network = training._network.eval()
    with torch.no_grad():
        scores = network(torch.from_numpy(values), torch.full((TEST,), SNAPSHOTS))
    return kendall(scores.double().numpy(), labels)


def test_it_learns_what_there_is_to_learn(experiment: Experiment) -> None:
    assert tau(train(experiment, *sequences(TRAIN))) > 0.6


@pytest.mark.parametrize("seed", [0, 1])
def test_from_permuted_labels_it_learns_nothing(experiment: Experiment, seed: int) -> None:
    values, labels = sequences(TRAIN)
    assert abs(tau(train(experiment, values, np.random.default_rng(seed).permutation(labels)))) < 3 * NOISE


def test_each_architecture_gives_one_sequence_of_every_length() -> None:
    assert lengths_of(2, 3).tolist() == [[0, 1], [0, 2], [0, 3], [1, 1], [1, 2], [1, 3]]


def test_the_schedule_is_one_cycle_that_ends_with_the_last_batch(experiment: Experiment) -> None:
    values, labels = sequences(20)
    training = train(experiment, values, labels)
    assert training._step == 8 * -(-20 * SNAPSHOTS // 16)
    assert training._schedule.total_steps == training._schedule.last_epoch == training._step
    assert len(training.result()["history"]) == 8


def test_a_loss_that_is_not_finite_names_the_architectures(experiment: Experiment) -> None:
    values, labels = sequences(20)
    values[7] = np.nan
    with pytest.raises(LossError, match=r"the loss is nan at epoch 1, batch \d, of architectures .*\b7\b"):
        train(experiment, values, labels)


def test_kinds_are_fused_by_name_weights_first() -> None:
    values = np.arange(2 * 3 * 2 * 128, dtype=np.float32).reshape(2, 3, 2, 128) + 1
    both, weights, gradients = (fused(values, VARIANTS[name]) for name in ("maps", "weights", "gradients"))
    np.testing.assert_array_equal(both[..., :128], values[:, :, 0])
    np.testing.assert_array_equal(both[..., 128:], values[:, :, 1])
    np.testing.assert_array_equal(weights + gradients, both)
    assert not weights[..., 128:].any()
    assert not gradients[..., :128].any()
