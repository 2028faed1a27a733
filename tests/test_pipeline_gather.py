"""Gathering results of a stage while another scheduler gathers them too: the later, fuller one stays."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stages.collect.stage as collect_stage
import stages.labels.stage as labels_stage
from pipeline import gather
from pipeline.experiment import initialize
from pipeline.registry import STAGES
from stages.experiment import Experiment
from storage_schema import durable, schema
from storage_schema.markers import Marker
from storage_schema.read import open_dynamics

SNAPSHOTS = 4


def mark(experiment: Experiment, stage: str, index: int) -> None:
    seconds = {activity: [0.5] * SNAPSHOTS for activity in schema.ACTIVITIES}
    result = {"diverged": False, "seconds": seconds, "label": 0.5}
    marker = Marker(
        stage=stage, index=index, identity=experiment.identity, fence=1, digests={}, result=result
    )
    marker.save(experiment.layout.marker(stage, index))


def written(experiment: Experiment) -> int:
    return int(open_dynamics(experiment.layout.dynamics)["written"].values.all(axis=1).sum())


def labelled(experiment: Experiment) -> int:
    return len(experiment.layout.labels.read_text().splitlines()) - 1


@pytest.mark.parametrize(
    ("stage", "module", "name", "count"),
    [
        ("collect", collect_stage, "write_gathered", written),
        ("labels", labels_stage.durable, "write", labelled),
    ],
    ids=["collect", "labels"],
)
def test_of_two_that_gather_at_once_the_fuller_result_stays(
    stage: str,
    module: Any,
    name: str,
    count: Callable[[Experiment], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One scheduler ends while the other's last index is at work, and is slow to write what it has gathered."""
    experiment = initialize(tmp_path / "experiment", "smoke", ("architectures.number=2",))
    gather.prepare(experiment, STAGES["collect"])
    mark(experiment, stage, 0)
    original, others = getattr(module, name), []

    def slowly(*arguments: Any) -> None:
        monkeypatch.setattr(module, name, original)
        others.append(os.fork())
        if others[0] == 0:
            mark(experiment, stage, 1)
            gather.finalise(experiment, STAGES[stage])
            os._exit(0)
        marker, end = experiment.layout.marker(stage, 1), time.monotonic() + 5
        while not marker.exists() and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.5)  # long enough for the other one to finish, if it did not wait
        original(*arguments)

    monkeypatch.setattr(module, name, slowly)
    gather.finalise(experiment, STAGES[stage])
    assert os.waitpid(others[0], 0)[1] == 0
    assert count(experiment) == 2


def test_gathering_before_anything_was_at_work_makes_no_difference(tmp_path: Path) -> None:
    experiment = initialize(tmp_path / "experiment", "smoke", ("architectures.number=2",))
    gather.finalise(experiment, STAGES["labels"])
    assert labelled(experiment) == 0
    assert list(tmp_path.rglob(f"*{durable.PARTIAL}")) == []
