"""Looking at one architecture, and finding what on disk is not what was computed."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from pipeline import inspect as inspection
from pipeline import verify
from pipeline.cli import main
from pipeline.execute import execute
from pipeline.experiment import initialize, load
from pipeline.registry import STAGES
from slurm.preemption import EXIT_STOPPED
from stages.experiment import Experiment
from stages.recording.config import RecordingConfig
from stages.settings import ConfigError
from storage_schema import markers, schema
from storage_schema.write import object_path

SETTINGS = [
    "architectures.number=3",
    "architectures.channels=2",
    "recording.interval=3",
    "recording.snapshots=3",
    "training.batch_size=32",
    "labels.epochs=0",
]
COLLECT, LABELS = STAGES["collect"], STAGES["labels"]
Command = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    experiment = initialize(tmp_path_factory.mktemp("made") / "e", "demo", SETTINGS)
    for stage in (COLLECT, LABELS):
        stage.prepare(experiment)
        assert [execute(experiment, stage, index) for index in range(3)] == [0, 0, 0]
        stage.finalise(experiment)
    return experiment.layout.root


@pytest.fixture
def experiment(made: Path, tmp_path: Path) -> Experiment:
    """A copy of the finished experiment, to be damaged."""
    return load(Path(shutil.copytree(made, tmp_path / "e")))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def call(experiment: Experiment, *words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["pipeline", *words, "-e", str(experiment.layout.root)])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0), capsys.readouterr().out

    return call


def flip(path: Path, bit: int = 4) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= bit
    path.write_bytes(content)


def change(experiment: Experiment, name: str, index: int, place: tuple[int, ...], value: float) -> None:
    """Change one value of one architecture, as a mistake of a program would: the file stays readable."""
    array = zarr.open_group(experiment.layout.dynamics, mode="r+")[name]
    assert isinstance(array, zarr.Array)
    kept = np.asarray(array[index])
    kept[place] = value
    array[index] = kept


def edit_marker(experiment: Experiment, stage: str, index: int, **changes: Any) -> None:
    """Save another marker, its own digest included."""
    path = experiment.layout.marker(stage, index)
    kept = markers.load(path)
    assert kept is not None
    replace(kept, **changes).save(path)


def files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_rows_are_the_stores_values(experiment: Experiment) -> None:
    found = inspection.inspect(experiment, 1, "gradients")
    data = zarr.open_group(experiment.layout.dynamics, mode="r")
    curves = np.asarray(data["curves"][1])
    assert [(row["snapshot"], row["step"]) for row in found.rows] == [(0, 1), (1, 3), (2, 6), (3, 9)]
    assert found.rows[2]["training_loss"] == pytest.approx(curves[3:6, 0].mean())
    assert found.rows[3]["validation_accuracy"] == curves[8, 1]
    reachable = np.asarray(data["reachable"][1])
    norms = np.asarray(data["gradients"][1])[2, reachable, 0, schema.FEATURES.index("l2")]
    assert found.rows[2]["l2"] == pytest.approx(norms.mean())
    assert found.facts["architecture"] == experiment.architectures[1]
    assert found.facts["state"] == "done"
    assert 0 <= found.facts["label"] <= 1


def test_a_layer_goes_by_its_name_or_position(experiment: Experiment) -> None:
    by_name = inspection.inspect(experiment, 0, "weights", "stem.conv")
    assert by_name.rows == inspection.inspect(experiment, 0, "weights", "0").rows
    assert by_name.facts["shown"] == "weights, stem.conv"
    assert by_name.rows != inspection.inspect(experiment, 0, "weights", "1").rows
    for wrong in ("-1", "999", "stem"):
        with pytest.raises(ConfigError, match=f"no layer '{wrong}'"):
            inspection.inspect(experiment, 0, "weights", wrong)


@pytest.mark.parametrize(
    ("index", "kind", "part"), [(-1, "weights", "0-2"), (3, "weights", "0-2"), (0, "w", "gradients")]
)
def test_what_does_not_exist_is_refused(experiment: Experiment, index: int, kind: str, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        inspection.inspect(experiment, index, kind)


def make_partial(experiment: Experiment, index: int, snapshots: int) -> None:
    """Leave what a killed collection leaves after so many snapshots."""
    experiment.layout.marker("collect", index).unlink()
    group = zarr.open_group(experiment.layout.dynamics, mode="r+")
    last = experiment.settings(RecordingConfig).steps[snapshots - 1]
    for name, first in [("weights", snapshots), ("gradients", snapshots), ("curves", last)]:
        array = group[name]
        assert isinstance(array, zarr.Array)
        kept = np.asarray(array[index])
        kept[first:] = np.nan
        array[index] = kept


def test_a_partial_architecture_is_shown_and_drawn(experiment: Experiment, tmp_path: Path) -> None:
    make_partial(experiment, 2, 2)
    found = inspection.inspect(experiment, 2, "weights")
    assert [row["step"] for row in found.rows] == [1, 3]
    assert found.facts["state"] == "missing"
    for suffix in ("png", "svg"):
        inspection.plot(experiment, 2, "weights", tmp_path / f"p.{suffix}")
        assert (tmp_path / f"p.{suffix}").stat().st_size > 5000
    object_path(experiment.layout.dynamics, "weights", 2).unlink()
    with pytest.raises(ConfigError, match="index 2 has no snapshot yet"):
        inspection.plot(experiment, 2, "weights", tmp_path / "q.png")


def test_a_diverged_network_looks_like_one(experiment: Experiment, command: Command) -> None:
    change(experiment, "curves", 0, (4, 0), np.nan)  # one mini-batch of the second interval
    change(experiment, "curves", 0, (7, 0), np.inf)
    losses = [row["training_loss"] for row in inspection.inspect(experiment, 0, "weights").rows]
    assert np.isfinite(losses).tolist() == [True, True, False, False]

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    _, out = command(experiment, "inspect", "0", "--json")
    shown = json.loads(out, parse_constant=refuse)["snapshots"]
    assert [row["training_loss"] is None for row in shown] == [False, False, True, True]


def test_a_piped_table_is_not_cut(experiment: Experiment, command: Command) -> None:
    code, out = command(experiment, "inspect", "0", "--kind", "gradients", "--layer", "1")
    assert code == 0
    assert "…" not in out
    assert "validation accuracy" in out
    assert len([line for line in out.splitlines() if line.lstrip()[:1].isdigit()]) == 4


def test_what_was_computed_passes(experiment: Experiment, command: Command) -> None:
    before = files(experiment.layout.root)
    code, out = command(experiment, "verify", "--json")
    told = json.loads(out)
    assert (code, told["checked"], told["findings"]) == (0, 6, [])
    assert not any(told["partial"].values())
    assert files(experiment.layout.root) == before


@pytest.mark.parametrize("name", ["weights", "gradients", "curves"])
def test_one_flipped_bit_is_found_and_named(experiment: Experiment, command: Command, name: str) -> None:
    flip(object_path(experiment.layout.dynamics, name, 1), bit=1)
    code, out = command(experiment, "verify", "--stage", "collect")
    marker = experiment.layout.marker("collect", 1)
    remedy = f"delete {marker} and run --stage collect --array 1"
    assert (code, out) == (1, f"collect 1: {name} differs from its digest; {remedy}\n")


def test_the_remedy_heals(experiment: Experiment) -> None:
    flip(object_path(experiment.layout.dynamics, "gradients", 1))
    experiment.layout.marker("collect", 1).unlink()
    assert execute(experiment, COLLECT, 1) == 0
    assert verify.verify_digests(experiment, COLLECT, range(3)) == []


def test_only_the_indices_asked_for_are_read(experiment: Experiment, command: Command) -> None:
    flip(object_path(experiment.layout.dynamics, "weights", 1))
    assert command(experiment, "verify", "--stage", "collect", "--array", "0,2")[0] == 0
    assert command(experiment, "verify", "--array", "1", "--stage", "labels")[0] == 0
    assert command(experiment, "verify", "--stage", "collect", "--array", "1-2")[0] == 1


def test_a_label_that_was_changed_is_found(experiment: Experiment) -> None:
    edit_marker(experiment, "labels", 0, result={"label": 0.5})
    edit_marker(experiment, "labels", 1, result={})
    found = [line.split(";")[0] for line in verify.verify_digests(experiment, LABELS, range(3))]
    assert found == ["labels 0: label differs from its digest", "labels 1: label is missing"]


def test_a_marker_that_vouches_for_less_or_another_is_found(experiment: Experiment) -> None:
    kept = markers.load(experiment.layout.marker("collect", 0))
    assert kept is not None
    edit_marker(experiment, "collect", 0, digests={k: v for k, v in kept.digests.items() if k != "gradients"})
    edit_marker(experiment, "collect", 1, identity="another")
    experiment.layout.marker("collect", 2).write_text("{")
    found = verify.verify_digests(experiment, COLLECT, range(3))
    assert found[0].startswith("collect 0: gradients has no digest in the marker; delete")
    assert found[1].startswith("collect 1: the marker is of collect 1, another; delete")
    assert "is not a readable marker" in found[2]
    assert len(found) == 3


def test_files_without_a_marker_are_partial_and_no_error(experiment: Experiment, command: Command) -> None:
    make_partial(experiment, 0, 3)
    partial = json.loads(command(experiment, "verify", "--json")[1])["partial"]
    assert {stage: array for stage, array in partial.items() if array} == {"collect": "0"}
    code, out = command(experiment, "verify")
    assert code == 0
    assert "partial, without a done-marker: collect 0; finish them: run --stage collect" in out


def test_markers_without_files_are_found(experiment: Experiment) -> None:
    shutil.rmtree(experiment.layout.dynamics)
    found = verify.verify_digests(experiment, COLLECT, [2])
    assert [line.split(";")[0] for line in found] == [
        f"collect 2: {name} is missing" for name in ("weights", "gradients", "curves")
    ]


def test_trained_again_everything_is_equal_and_nothing_is_touched(experiment: Experiment) -> None:
    before = files(experiment.layout.root)
    assert verify.verify_by_training(experiment, [2]) == []
    assert files(experiment.layout.root) == before


def test_a_planted_value_is_named(experiment: Experiment, command: Command) -> None:
    place = (2, 1, 3, schema.FEATURES.index("skewness"))
    change(experiment, "gradients", 1, place, 0.25)
    change(experiment, "weights", 1, (3, 0, 0, 0), 9.0)  # a later snapshot
    change(experiment, "weights", 1, (2, 4, 0, 0), 9.0)  # the same snapshot, a later layer
    code, out = command(experiment, "verify", "--stage", "labels", "--sample", "1", "--array", "1")
    assert code == 1
    layer = inspection.inspect(experiment, 1, "weights", "1").facts["shown"].split()[-1]
    expected = (
        f"collect 1: snapshot 2, layer 1 ({layer}), gradients, skewness, value 3: stored 0.25, trained again"
    )
    assert out.startswith(expected)


@pytest.mark.parametrize("name", ["weights", "curves"])
def test_a_chunk_that_cannot_be_read_is_a_finding(
    experiment: Experiment, command: Command, name: str
) -> None:
    """Its checksum differs; values cannot even be compared."""
    flip(object_path(experiment.layout.dynamics, name, 1), bit=1)
    found = verify.verify_by_training(experiment, [1, 2])
    assert [line.partition(" (")[0] for line in found] == [
        f"collect 1: {experiment.layout.dynamics} is damaged"
    ]
    code, out = command(experiment, "verify", "--stage", "collect", "--sample", "3")
    assert (code, len(out.splitlines())) == (1, 2)


def test_a_planted_value_of_a_curve_is_named(experiment: Experiment) -> None:
    change(experiment, "curves", 0, (5, 1), 0.125)
    (found,) = verify.verify_by_training(experiment, [0])
    assert found.startswith("collect 0: validation_accuracy of mini-batch 6: stored 0.125, trained again")


def test_other_versions_are_told_with_the_difference(experiment: Experiment) -> None:
    marker = markers.load(experiment.layout.marker("collect", 0))
    assert marker is not None
    edit_marker(experiment, "collect", 0, provenance=marker.provenance | {"torch": "1.0"})
    assert verify.verify_by_training(experiment, [0]) == []  # equal bits are equal, whoever made them
    change(experiment, "curves", 0, (0, 0), 7.0)
    (found,) = verify.verify_by_training(experiment, [0])
    assert f"(torch 1.0 then, {marker.provenance['torch']} now)" in found


def test_stopped_while_training_again(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "execute", lambda *_: EXIT_STOPPED)
    with pytest.raises(verify.VerifyError, match="stopped while index 1"):
        verify.verify_by_training(experiment, [1, 2])


def test_what_cannot_be_trained_again_says_why(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(verify.CollectStage, "run", full)
    (found,) = verify.verify_by_training(experiment, [1])
    assert found.startswith("collect 1: could not be trained again: OSError: ")
    assert "No space left" in found


def test_values_are_compared_by_bits() -> None:
    old = np.array([0.0, np.nan, 1.0, np.inf], np.float32)
    new = np.array([-0.0, np.nan, np.nextafter(np.float32(1), np.float32(2)), np.inf], np.float32)
    new.view(np.uint32)[1] ^= 1  # another NaN
    assert np.isnan(new[1])
    assert verify.differing(old, new).ravel().tolist() == [0, 2]


def test_a_sample_is_drawn_by_its_seed() -> None:
    assert verify.choose_sample(range(50), 5, 1) == verify.choose_sample(range(50), 5, 1)
    assert verify.choose_sample(range(50), 5, 1) != verify.choose_sample(range(50), 5, 2)
    with pytest.raises(ConfigError, match="--sample 4 is more than the 3"):
        verify.choose_sample(range(3), 4, 0)


def processor_seconds_of_children() -> float:
    """Whatever else the machine does meanwhile takes none of them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.slow
def test_help_answers_at_once() -> None:
    seconds = []
    for _ in range(5):
        start = processor_seconds_of_children()
        subprocess.run([sys.executable, "-m", "pipeline", "--help"], check=True, capture_output=True)
        seconds.append(processor_seconds_of_children() - start)
    assert min(seconds) < 0.6  # 0.2 where nothing else runs; importing torch or zarr would take a second
