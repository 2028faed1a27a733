"""Training of an autoencoder: its schedule and, on real maps of real digits, that it codes something (R15)."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from pipeline.execute import EXIT_DONE
from pipeline.experiment import initialize
from pipeline.registry import STAGES
from pipeline.run import RunOptions, run_stage
from stages.experiment import Experiment
from stages.nap2.cae.fit import AutoencoderTraining, learning_rate
from stages.nap2.feature_maps.maps import Maps
from stages.nap2.feature_maps.variants import VARIANTS
from stages.nap2.models.config import CaeConfig
from stages.stage import Execution

SETTINGS = (
    "architectures.number=16",
    "architectures.channels=2",
    "recording.interval=3",
    "recording.snapshots=4",
    "training.batch_size=32",
    "cae.epochs=25",
    "cae.warmup=2",
    "cae.step_size=20",
    "cae.patience=6",
    "cae.batch_size=16",
)


def test_the_papers_schedule() -> None:
    rates = [learning_rate(CaeConfig(), epoch) for epoch in range(150)]
    assert rates[0] == 1e-6
    assert rates[:6] == sorted(rates[:6])
    assert all(rate == pytest.approx(1e-3) for rate in rates[5:25])
    assert rates[25] == pytest.approx(1.5e-4)
    assert rates[45] == pytest.approx(2.25e-5)


def test_the_small_presets_schedule() -> None:
    config = CaeConfig(epochs=40, warmup=2, step_size=6, patience=8)
    rates = [learning_rate(config, epoch) for epoch in range(40)]
    assert rates[2:8] == pytest.approx([1e-3] * 6)
    assert rates[8] == pytest.approx(1.5e-4)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    experiment = initialize(tmp_path_factory.mktemp("cae") / "e", "demo", SETTINGS)
    code = run_stage(experiment, STAGES["collect"], None, RunOptions(cluster="inline"), Console(quiet=True))
    assert code == EXIT_DONE
    return experiment


def train(experiment: Experiment) -> AutoencoderTraining:
    maps = Maps(experiment.layout.dynamics, "weights", VARIANTS["maps"], experiment.architectures, 65, 100)
    execution = Execution(
        identity="i", should_stop=lambda: False, guard=nullcontext, progress=lambda share, note="": None
    )
    training = AutoencoderTraining(experiment, 0, execution, maps, range(12), range(12, 16), seed=1)
    training.work()
    return training


def test_the_loss_on_unseen_networks_goes_below_predicting_the_mean(experiment: Experiment) -> None:
    result = train(experiment).result()
    assert result["validation_loss"] < 0.9 * result["validation_loss_of_mean"]
    assert result["maps"] == 48


def test_products_of_less_precision_give_nearly_the_same_and_end_with_the_model(
    experiment: Experiment,
) -> None:
    exact = train(experiment).result()["validation_loss"]
    settings = experiment.settings.having(replace(experiment.settings(CaeConfig), matmul_precision="medium"))
    rounded = train(replace(experiment, settings=settings)).result()["validation_loss"]
    assert rounded == pytest.approx(exact, rel=0.05)
    assert torch.get_float32_matmul_precision() == "medium"
    assert train(experiment).result()["validation_loss"] == exact
    assert torch.get_float32_matmul_precision() == "highest"


def test_the_best_epoch_is_kept_and_patience_ends_training(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = AutoencoderTraining._validate

    def worse_from_third(self: AutoencoderTraining) -> None:
        original(self)
        if len(self.history) > 3:
            self.history[-1]["validation_loss"] = 1e9

    monkeypatch.setattr(AutoencoderTraining, "_validate", worse_from_third)
    training = train(experiment)
    assert training.best_epoch == 3
    assert len(training.history) == 3 + 6
