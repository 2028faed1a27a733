"""What a run would take: the stages' estimates, and what finished indices tell."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.experiment import draft
from pipeline.forecast import forecast
from pipeline.registry import STAGES
from stages.experiment import Experiment
from stages.labels.config import LabelsConfig
from stages.stage import Outcome, Stage
from storage_schema import markers

ROUGH = {
    "collect": (0.065660544, 96, 936806),
    "zero-cost": (24, 24, 0),
    "labels": (0.245771064, 24, 0),
    "split": (2, 8, 0),
    "cae": (4.4352, 12, 146800000),
    "embed": (1.1088, 4, 0),
    "bigru": (0.04536, 6, 5200000),
    "baselines": (14, 14, 0),
    "evaluate": (2, 4, 0),
}
"""Seconds, files and bytes of all indices of the preset `smoke`, nothing measured."""


@pytest.fixture
def smoke(tmp_path: Path) -> Experiment:
    return draft(tmp_path / "e", "smoke")[0]


def test_each_stage_is_in_the_table() -> None:
    assert list(ROUGH) == list(STAGES)


@pytest.mark.parametrize("name", ROUGH)
def test_a_forecast_before_anything_is_measured(name: str, smoke: Experiment) -> None:
    stage = STAGES[name]
    expected = forecast(smoke, stage, list(range(stage.num_tasks(smoke))))
    assert not expected.measured
    assert (expected.seconds, expected.files, expected.bytes) == pytest.approx(ROUGH[name], rel=1e-9)


@pytest.mark.parametrize("name", ROUGH)
def test_nothing_takes_nothing(name: str, smoke: Experiment) -> None:
    expected = forecast(smoke, STAGES[name], [])
    assert (expected.seconds, expected.files, expected.bytes) == (0, 0, 0)


def test_labels_that_are_known_take_no_time(smoke: Experiment) -> None:
    known = replace(smoke, settings=smoke.settings.having(LabelsConfig(source="table")))
    assert forecast(known, STAGES["labels"], [0, 1]).seconds == 0


def finish(experiment: Experiment, stage: str, index: int, result: Mapping[str, Any]) -> int:
    """Write a marker; returns its size."""
    marker = markers.Marker(
        stage=stage, index=index, identity="x", fence=1, digests={}, result=dict(result), provenance={}
    )
    path = experiment.layout.marker(stage, index)
    marker.save(path)
    return path.stat().st_size


def test_finished_indices_tell_of_those_to_come(smoke: Experiment) -> None:
    parts = {"training": [1.0, 2.0], "recording": [0.5, 0.5], "validation": [0.0, 0.0]}
    size = finish(smoke, "collect", 3, {"seconds": parts})
    expected = forecast(smoke, STAGES["collect"], [0, 1])
    assert (expected.measured, expected.seconds, expected.bytes) == (True, 8.0, 2 * size)


@pytest.mark.parametrize(
    "seconds", [[1], {"training": 1}, "1", None, {"training": [-1]}, {"training": [1e999]}]
)
def test_seconds_that_are_none_are_a_damaged_marker(seconds: object, smoke: Experiment) -> None:
    finish(smoke, "collect", 0, {"seconds": seconds})
    with pytest.raises(markers.MarkerError, match="is not a readable marker"):
        forecast(smoke, STAGES["collect"], [1])


def test_each_kind_is_told_of_by_its_own(smoke: Experiment) -> None:
    class Two(Stage):
        name = "two"

        def num_tasks(self, _: Experiment) -> int:
            return 10

        def kind(self, _: Experiment, index: int) -> str:
            return "even" if index % 2 == 0 else "odd"

        def files(self, *_: object) -> dict[str, Path]:
            return {}

        def run(self, *_: object) -> Outcome:
            raise IndexError

    finish(smoke, "two", 0, {"seconds": 100})
    assert forecast(smoke, Two(), [2, 4]).seconds == 200
    assert forecast(smoke, Two(), [2, 4]).measured
    assert (
        forecast(smoke, Two(), [2, 3, 5]).seconds == 100 + 1 + 1
    )  # a second each, unless the stage knows better
    assert not forecast(smoke, Two(), [2, 3]).measured
    finish(smoke, "two", 1, {"other": 7})  # it does not say how long it took
    assert forecast(smoke, Two(), [3]).seconds == 1


def test_estimates_import_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pipeline.experiment import draft\n"
        "from pipeline.registry import STAGES\n"
        f"e = draft(Path({str(tmp_path / 'e')!r}), 'smoke')[0]\n"
        "assert all(stage.estimate(e, [0, 1]).seconds > 0 for stage in STAGES.values())\n"
        "assert 'torch' not in sys.modules"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
