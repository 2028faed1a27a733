"""The doctor's findings, on this machine and on records of others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import doctor
from pipeline.asked import open_or_make
from stages.experiment import Experiment

SMALL = ["architectures.number=2", "architectures.channels=2"]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return open_or_make(tmp_path_factory.mktemp("doctor") / "e", "smoke", SMALL, False)


def test_this_machine_is_fit(experiment: Experiment) -> None:
    found = {check.name: check for check in doctor.examine(experiment.layout.root, on_nodes=False)}
    assert {"python", "packages", "device", "folder", "space", "slurm"} <= set(found)
    assert not [str(check) for check in found.values() if check.verdict == "bad"]


def test_findings_are_records_and_lines(experiment: Experiment) -> None:
    check = doctor.Check(name="disk", verdict="bad", detail="full", remedy="make room")
    assert json.dumps(check.record())
    assert str(check) == "bad      disk: full; make room"


def test_the_wrong_wheel_is_refused_with_the_right_one() -> None:
    seen = doctor.look(Path("/nonexistent")) | {"unsupported": ["GTX 1080 Ti is sm_61, torch has sm_75"]}
    found = {check.name: check for check in doctor.machine(seen)}
    assert found["device"].verdict == "bad"
    assert "CUDA 12.6" in found["device"].remedy


def test_a_workspace_that_is_not_deterministic_is_refused() -> None:
    seen = doctor.look(Path("/nonexistent")) | {"cublas": ":0:0"}
    found = {check.name: check for check in doctor.machine(seen)}
    assert found["CUBLAS_WORKSPACE_CONFIG"].verdict == "bad"


def test_a_node_that_differs_is_named_with_what_differs() -> None:
    mine = doctor.look(Path("/nonexistent")) | {"lag": 0.0}
    same = doctor.compare("node1", dict(mine), mine)
    assert same.verdict == "good"
    theirs = mine | {"python": "3.9.2", "lag": 90.0, "packages": mine["packages"] | {"torch": "2.6.0"}}
    other = doctor.compare("node2", theirs, mine)
    assert other.verdict == "bad"
    assert all(word in other.detail for word in ("Python 3.9.2 there", "torch 2.6.0 there", "+90 s off"))


def test_a_folder_that_cannot_be_written_is_bad() -> None:
    (check,) = list(doctor.folder(Path("/proc")))
    assert check.verdict == "bad"
