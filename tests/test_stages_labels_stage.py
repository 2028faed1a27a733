"""Labels from own training: resumable to the bit; from a table: no tensor is touched (R13)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.execute import EXIT_DONE, EXIT_STOPPED, execute
from pipeline.experiment import initialize
from pipeline.registry import STAGES
from slurm.task import EXIT_FAILED
from stages.datasets.config import DataConfig
from stages.datasets.errors import DataError
from stages.experiment import Experiment
from stages.training import loop, resumable
from stages.training.data import device_data
from storage_schema import markers

LABELS = STAGES["labels"]
SETTINGS = (
    "architectures.number=2",
    "architectures.channels=2",
    "labels.epochs=1",
    "training.batch_size=128",
)


def label(experiment: Experiment) -> float:
    marker = markers.load(experiment.layout.marker("labels", 0))
    assert marker is not None
    return float(marker.result["label"])


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """Weights and buffers of each network evaluated: a label near chance could be equal by accident."""
    networks: list[dict[str, torch.Tensor]] = []
    evaluate = loop.evaluate

    def watching(network: nn.Module, *others: Any) -> tuple[float, float]:
        networks.append({name: value.clone() for name, value in network.state_dict().items()})
        return evaluate(network, *others)

    monkeypatch.setattr(loop, "evaluate", watching)
    return networks


def are_equal(networks: list[dict[str, torch.Tensor]]) -> bool:
    first, second = networks
    return all(torch.equal(first[name], second[name]) for name in first)


def test_stopped_and_resumed_gives_the_same_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluated: list[dict[str, torch.Tensor]]
) -> None:
    whole, stopped = (initialize(tmp_path / name, "demo", SETTINGS) for name in ("whole", "stopped"))
    assert execute(whole, LABELS, 0) == EXIT_DONE
    assert 0 <= label(whole) <= 1
    backward = loop.Trainer.backward

    def signalling(self: loop.Trainer, step: int) -> torch.Tensor:
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return backward(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "backward", signalling)
        assert execute(stopped, LABELS, 0) == EXIT_STOPPED
    seen: list[int] = []
    monkeypatch.setattr(
        loop.Trainer, "backward", lambda self, step: seen.append(step) or backward(self, step)
    )
    assert execute(stopped, LABELS, 0) == EXIT_DONE
    assert seen == [5, 6, 7, 8, 9]
    assert label(stopped) == label(whole)
    assert are_equal(evaluated)
    LABELS.finalise(stopped)
    rows = stopped.layout.labels.read_text().splitlines()
    assert rows == [
        "index,architecture,label,source",
        f"0,{stopped.architectures[0]},{label(whole)!r},training",
    ]


class KilledError(Exception):
    """Stands for a process that ends without a chance to save."""


def killed_at(step: int, patch: pytest.MonkeyPatch) -> None:
    backward = loop.Trainer.backward

    def dying(self: loop.Trainer, at: int) -> torch.Tensor:
        if at == step:
            raise KilledError
        return backward(self, at)

    patch.setattr(loop.Trainer, "backward", dying)


def test_killed_in_the_second_epoch_goes_on_from_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluated: list[dict[str, torch.Tensor]]
) -> None:
    settings = (*SETTINGS, "labels.epochs=2")
    whole, killed = (initialize(tmp_path / name, "demo", settings) for name in ("whole", "killed"))
    assert execute(whole, LABELS, 0) == EXIT_DONE
    with monkeypatch.context() as patch:
        killed_at(13, patch)
        assert execute(killed, LABELS, 0) == EXIT_FAILED
    assert "KilledError" in killed.layout.failure("labels", 0).read_text()
    backward, seen = loop.Trainer.backward, []
    monkeypatch.setattr(
        loop.Trainer, "backward", lambda self, step: seen.append(step) or backward(self, step)
    )
    assert execute(killed, LABELS, 0) == EXIT_DONE
    assert seen == list(range(10, 19))
    assert label(killed) == label(whole)
    assert are_equal(evaluated)
    assert not killed.layout.checkpoint("labels", 0).exists()


def test_a_change_of_versions_is_refused_or_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = initialize(tmp_path / "e", "demo", (*SETTINGS, "labels.epochs=2"))
    with monkeypatch.context() as patch:
        killed_at(11, patch)
        assert execute(experiment, LABELS, 0) == EXIT_FAILED
    other = dict(resumable.fingerprint(torch.device("cpu")), torch="0.0.1")
    monkeypatch.setattr(resumable, "fingerprint", lambda device: other)
    assert execute(experiment, LABELS, 0) == EXIT_FAILED
    assert "--allow-device-change" in experiment.layout.failure("labels", 0).read_text()
    assert execute(experiment, LABELS, 0, allow_device_change=True) == EXIT_DONE
    marker = markers.load(experiment.layout.marker("labels", 0))
    assert marker is not None
    assert marker.result["source"] == "training"
    assert marker.provenance["torch"] == "0.0.1"
    assert [each["torch"] for each in marker.provenance["resumed_on"]] == [torch.__version__]


def test_no_epochs_is_the_accuracy_at_initialization(tmp_path: Path) -> None:
    experiment = initialize(tmp_path / "e", "demo", (*SETTINGS, "labels.epochs=0"))
    assert execute(experiment, LABELS, 0) == EXIT_DONE
    assert label(experiment) < 0.4


def test_labels_of_a_table_need_no_torch(tmp_path: Path, shared_data: Path) -> None:
    table = shared_data / "nasbench201.csv.gz"
    settings = (*SETTINGS, "labels.source=table", "labels.column=cifar10_test", f"labels.table={table}")
    experiment = initialize(tmp_path / "e", "demo", settings)
    code = (
        "import sys; from pathlib import Path; from pipeline.experiment import load\n"
        "from pipeline.registry import STAGES\n"
        "from pipeline.execute import execute\n"
        f"assert execute(load(Path({str(experiment.layout.root)!r})), STAGES['labels'], 0) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=True)
    assert label(experiment) == experiment.planned_labels[0]


def test_images_that_changed_since_init_are_refused(tmp_path: Path) -> None:
    experiment = initialize(tmp_path / "e", "demo", SETTINGS)
    with pytest.raises(DataError, match="changed since the experiment was made"):
        device_data(experiment.settings(DataConfig), torch.device("cpu"), "0" * 64)
