"""The command line: what it does, and that every mistake is one line with the value and the remedy."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr

from pipeline import config
from pipeline.cli import main
from pipeline.experiment import initialize, load
from pipeline.registry import STAGES
from pipeline.sections import COLLECTION
from stages.datasets.config import DataConfig
from stages.recording.config import RecordingConfig
from stages.search_spaces.chosen import task_of
from stages.search_spaces.config import ArchitecturesConfig
from stages.search_spaces.sample import draw
from stages.settings import Settings
from stages.training.config import TrainingConfig
from storage_schema import lease
from storage_schema.write import file_digests, object_path

SMALL = (
    "architectures.number=3",
    "architectures.channels=2",
    "recording.interval=3",
    "recording.snapshots=2",
    "training.batch_size=32",
    "labels.epochs=0",
)
SETS = [word for setting in SMALL for word in ("--set", setting)]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command in this process, in an empty directory; returns exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NAP2_DATA_ROOT", raising=False)
    monkeypatch.delenv("NAP2_LABELS_TABLE", raising=False)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pipeline", *words])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return call


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finished") / "e"
    command = [sys.executable, "-m", "pipeline", "run", "--preset", "demo", *SETS, "-e", str(root)]
    for stage in ("collect", "labels"):  # three networks are too few for a split
        subprocess.run([*command, "--cluster", "inline", "--stage", stage], check=True)
    return root


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def refused(result: tuple[int, str, str], *parts: str) -> None:
    code, out, err = result
    assert code not in (0, 1)
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("pipeline: ")
    for part in parts:
        assert part in err


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--preset", "dmeo"), ("'dmeo'", "did you mean demo")),
        (("--preset", "demo", "--set", "training.batchsize=3"), ("did you mean training.batch_size",)),
        (("--preset", "demo", "--set", "training.batch_size"), ("training.batch_size", "section.key=value")),
        (("--preset", "demo", "--set", "training.batch_size=many"), ("'many'", "int")),
        (("--preset", "demo", "--set", "training.batch_size=0"), ("0", "smallest value allowed")),
        (("--preset", "demo", "--set", "training.optimizer=lion"), ("'lion'", "adamw")),
        (("--preset", "demo", "--set", "architectures.number=20000"), ("20000", "15625")),
        (("--preset", "cifar10"), ("data.root", "NAP2_DATA_ROOT")),
        (("--preset", "cifar10", "--set", "data.root=nowhere"), ("nowhere",)),
    ],
)
def test_init_refuses(words: tuple[str, ...], parts: tuple[str, ...], cli: Run, tmp_path: Path) -> None:
    refused(cli("init", "e", *words), *parts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("init",), ("directory", "pipeline init --help")),
        (("init", "e"), ("--preset", "pipeline init --help")),
        (("init", "e", "--preset"), ("--preset", "--help")),
        (("run", "--workers", "many"), ("--workers many", "pipeline run --help")),
        (("run", "--workers", "-1"), ("--workers -1", "pipeline run --help")),
        (("run", "--bogus"), ("--bogus", "pipeline run --help")),
        (("collect",), ("'collect'", "pipeline --help")),
        (("status",), (". is not an experiment", "pipeline init")),
    ],
)
def test_a_misused_command_line_is_one_line(
    words: tuple[str, ...], parts: tuple[str, ...], cli: Run, tmp_path: Path
) -> None:
    refused(cli(*words), *parts)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_directory_is_made_an_experiment_unless_it_is_a_dry_run(cli: Run, tmp_path: Path) -> None:
    made = ("run", "--preset", "demo", *SETS, "--cluster", "inline")
    code, out, _ = cli(*made, "--dry-run", "--json")
    assert (code, json.loads(out)["collect"]["array"]) == (0, "0-2")
    assert list(tmp_path.iterdir()) == []
    code, out, _ = cli(*made, "--stage", "collect", "--array", "1%1", "--json")
    assert (code, json.loads(out)["collect"]["done"]) == (0, 1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    dry = json.loads(cli(*made, "--dry-run", "--json")[1])
    assert (dry["collect"]["array"], dry["labels"]["array"]) == ("0,2", "0-2")
    assert cli("status", "--stage", "labels", "--missing")[1].strip() == "0-2"
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_an_interrupt_is_one_line(cli: Run, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.overview.stage_status", interrupted)
    code, _, err = cli("status", "-e", str(finished))
    assert (code, err.count("\n")) == (130, 1)
    assert "run the same command" in err


def test_init_refuses_a_directory_in_use(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "mine").write_text("x")
    refused(cli("init", "e", "--preset", "demo"), "e exists", "another directory")
    assert [path.name for path in tmp_path.rglob("*")] == ["e", "mine"]


def test_init_refuses_a_place_that_cannot_be_written(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    refused(cli("init", "file/e", "--preset", "demo"), "file", "choose another place")


def test_cifar_needs_labels_with_the_column(cli: Run, cifar_root: Path, tmp_path: Path) -> None:
    data = ("--preset", "cifar10-small", "--set", f"data.root={cifar_root}")
    refused(cli("init", "e", *data), "labels.table", "NAP2_LABELS_TABLE")
    table = tmp_path / "t.csv"
    table.write_text("arch_str,other\n|none~0|+|none~0|none~1|+|none~0|none~1|none~2|,10\n")
    refused(cli("init", "e", *data, "--set", f"labels.table={table}"), "cifar10_test", "t.csv")
    assert not (tmp_path / "e").exists()


def test_an_altered_image_file_is_refused(cli: Run, cifar_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for file in (cifar_root / "cifar-10-batches-bin").iterdir():
        (folder / file.name).symlink_to(file)
    victim = folder / "data_batch_3.bin"
    content = bytearray(victim.read_bytes())
    content[100] ^= 1
    victim.unlink()
    victim.write_bytes(content)
    refused(cli("init", "e", "--preset", "cifar10", "--set", f"data.root={tmp_path}"), "data_batch_3.bin")
    victim.write_bytes(content[:-1])
    refused(cli("init", "e", "--preset", "cifar10", "--set", f"data.root={tmp_path}"), "data_batch_3.bin")
    victim.unlink()
    refused(cli("init", "e", "--preset", "cifar10", "--set", f"data.root={tmp_path}"), "data_batch_3.bin")
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize("array", ["", "x", "3-1", "-1", "0-5", "1,,2", "0:0", "99"])
def test_run_refuses_an_array(array: str, cli: Run, finished: Path) -> None:
    named = {"": "''", "0-5": "index 3"}.get(array, array)
    refused(cli("run", "-e", str(finished), "--stage", "collect", f"--array={array}"), named)


def test_other_commands_refuse(cli: Run, finished: Path, tmp_path: Path) -> None:
    refused(cli("status", "-e", "nothing"), "nothing", "pipeline init")
    refused(cli("run", "-e", str(finished), "--stage", "colect"), "'colect'", "collect")
    refused(cli("run", "-e", str(finished), "--cluster", "moon"), "'moon'", "local")
    refused(cli("run", "-e", str(finished), "--set", "training.epochs=3"), "training.epochs 10 -> 3")
    refused(cli("run", "-e", str(finished), "--array", "0"), "--array 0", "--stage")
    refused(cli("verify", "-e", str(finished), "--array", "0"), "--array 0", "--stage")
    refused(cli("status", "-e", str(finished), "--missing"), "--missing", "--stage")
    refused(cli("run", "-e", str(finished), "--stage", "split"), "3 usable architectures", "20")
    refused(cli("run", "-e", str(finished), "--preset", "demo"), "training.batch_size 32 -> 64")
    refused(cli("inspect", "3", "-e", str(finished)), "3", "0-2")
    refused(cli("inspect", "0", "-e", str(finished), "--layer", "z"), "'z'", "stem.conv")
    refused(cli("inspect", "0", "-e", str(finished), "--plot", str(tmp_path / "a.xyz")), "a.xyz")
    refused(cli("verify", "-e", str(finished), "--sample", "9"), "9", "3 finished")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_an_experiment_that_was_changed_is_refused(cli: Run, copied: Path) -> None:
    edit(copied / "experiment.toml", "batch_size = 32", "batch_size = 33")
    refused(cli("status", "-e", str(copied)), "training.batch_size 32 -> 33")
    edit(copied / "experiment.toml", "batch_size = 33", "batchsize = 33")
    refused(cli("status", "-e", str(copied)), "did you mean training.batch_size")


def test_a_plan_that_was_changed_is_refused(cli: Run, copied: Path) -> None:
    edit(copied / "plan.csv", "none", "skip_connect")
    refused(cli("status", "-e", str(copied)), "plan.csv")


def test_a_newer_schema_and_a_foreign_store_are_refused(cli: Run, copied: Path) -> None:
    edit(copied / "identity.json", '"schema_version": 1', '"schema_version": 2')
    refused(cli("status", "-e", str(copied)), "schema version 2 is newer")
    edit(copied / "identity.json", '"schema_version": 2', '"schema_version": 1')
    identity = load(copied).identity
    edit(copied / "dynamics.zarr" / "zarr.json", identity, "0" * 16)
    (copied / "markers" / "collect" / "00000.json").unlink()
    refused(cli("run", "-e", str(copied), "--stage", "collect"), identity, "0" * 16)


def test_paths_may_change(cli: Run, copied: Path) -> None:
    edit(copied / "experiment.toml", 'device = "auto"', 'device = "cpu"')
    assert cli("status", "-e", str(copied))[0] == 0


def test_a_full_disk_is_one_line_and_loses_nothing(copied: Path) -> None:
    shutil.rmtree(copied / "markers")
    before = file_digests(copied / "dynamics.zarr", 0)

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    command = [
        sys.executable,
        "-m",
        "pipeline",
        "run",
        "-e",
        str(copied),
        "--stage",
        "collect",
        "--array",
        "0",
        "--cluster",
        "inline",
    ]
    result = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "File too large" in result.stderr
    assert "Traceback" not in result.stderr
    assert file_digests(copied / "dynamics.zarr", 0) == before
    assert not list(copied.rglob("*.partial"))
    assert subprocess.run(command, check=False).returncode == 0
    assert file_digests(copied / "dynamics.zarr", 0) == before


def test_a_second_process_steps_aside_and_says_so(cli: Run, copied: Path) -> None:
    (copied / "markers" / "collect" / "00001.json").unlink()
    layout = load(copied).layout
    lease.Lease.acquire(layout.lease("collect", 1), layout.lease_lock("collect"), 1)
    code, _, err = cli("run", "-e", str(copied), "--stage", "collect", "--cluster", "inline")
    assert code == 0
    assert "collect 1:" in err
    assert "stepping aside" in err


def test_the_same_command_again_does_nothing_more(cli: Run, finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.glob("dynamics.zarr/weights/**/*")}
    words = ("--stage", "collect", "--json")
    code, out, _ = cli("run", "--preset", "demo", *SETS, "-e", str(finished), *words)
    assert code == 0
    assert json.loads(out)["collect"]["done"] == 3
    assert before == {path: path.stat().st_mtime_ns for path in finished.glob("dynamics.zarr/weights/**/*")}


def test_status_names_what_is_missing_as_an_array(cli: Run, copied: Path) -> None:
    for index in (0, 2):
        (copied / "markers" / "collect" / f"0000{index}.json").unlink()
    array = cli("status", "-e", str(copied), "--stage", "collect", "--missing")[1].strip()
    assert array in ("0,2", "0-2:2")
    assert json.loads(cli("status", "-e", str(copied), "--json")[1])["stages"]["collect"]["done"] == "1"
    dry = json.loads(cli("run", "-e", str(copied), "--dry-run", "--json")[1])
    assert dry["collect"]["indices"] == 2
    assert dry["collect"]["measured"]
    assert not (copied / "markers" / "collect" / "00000.json").exists()
    assert (
        cli("run", "-e", str(copied), "--stage", "collect", "--array", array, "--cluster", "inline")[0] == 0
    )
    assert cli("status", "-e", str(copied), "--stage", "collect")[1].endswith("all done\n")


def test_workers_give_the_same_bytes_and_a_signal_stops_them(finished: Path, tmp_path: Path) -> None:
    root = initialize(tmp_path / "e", "demo", SMALL).layout.root
    command = [
        sys.executable,
        "-m",
        "pipeline",
        "run",
        "-e",
        str(root),
        "--stage",
        "collect",
        "--cluster",
        "local",
        "--workers",
        "2",
    ]
    process = subprocess.Popen(command)
    while not (root / "leases" / "collect").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=300) == 75
    assert subprocess.run(command, check=False).returncode == 0
    for index in range(3):
        assert file_digests(root / "dynamics.zarr", index) == file_digests(finished / "dynamics.zarr", index)


@pytest.mark.parametrize("cluster", ["inline", "local"])
def test_a_second_interrupt_does_not_wait(cluster: str, tmp_path: Path) -> None:
    long = ("recording.interval=100000", "architectures.number=2")
    root = initialize(tmp_path / "e", "demo", (*SMALL, *long)).layout.root
    command = [sys.executable, "-m", "pipeline", "run", "-e", str(root), "--cluster", cluster]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not list(root.glob("leases/collect/*.json")):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    # 75: it had saved before the second one came; killed by it: it was on its way out already.
    assert process.returncode in (75, 130, -signal.SIGINT)
    assert "Traceback" not in err
    assert "run the same command" in err


def test_verify_finds_a_flipped_byte_and_a_missing_file(cli: Run, copied: Path) -> None:
    assert cli("verify", "-e", str(copied))[0] == 0
    victim = object_path(copied / "dynamics.zarr", "gradients", 1)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 4
    victim.write_bytes(content)
    object_path(copied / "dynamics.zarr", "curves", 2).unlink()
    code, out, _ = cli("verify", "-e", str(copied), "--json")
    findings = json.loads(out)["findings"]
    assert code == 1
    assert [finding.split(";")[0] for finding in findings] == [
        "collect 1: gradients differs from its digest",
        "collect 2: curves is missing",
    ]


def test_verify_by_training_again_names_the_first_value_that_differs(cli: Run, copied: Path) -> None:
    code, out, _ = cli("verify", "-e", str(copied), "--sample", "3")
    assert (code, "every value equal" in out) == (0, True)
    array = zarr.open_group(copied / "dynamics.zarr", mode="r+")["weights"]
    rows = np.asarray(array[1])
    rows[2, 0, 0, 9] *= np.float32(1.001)
    array[1] = rows
    code, out, _ = cli("verify", "-e", str(copied), "--stage", "labels", "--sample", "3")
    assert code == 1
    assert "collect 1: snapshot 2, layer 0 (stem.conv), weights, l1, value 0: stored" in out


def test_inspect_shows_and_draws(cli: Run, finished: Path, tmp_path: Path) -> None:
    code, out, _ = cli("inspect", "0", "-e", str(finished), "--json", "--plot", str(tmp_path / "a.svg"))
    found = json.loads(out)
    assert code == 0
    assert [row["step"] for row in found["snapshots"]] == [1, 3, 6]
    assert (tmp_path / "a.svg").read_text().count("<path") > 10


@pytest.mark.parametrize(
    "words",
    [["--help"], ["status"], ["run", "--dry-run"], ["run", "--help"], ["init", "new", "--preset", "demo"]],
)
def test_torch_is_not_imported(words: list[str], finished: Path, tmp_path: Path) -> None:
    words = [str(tmp_path / "new") if word == "new" else word for word in words]
    code = (
        "import sys; from pipeline.cli import app\n"
        f"try: app({words!r})\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules, 'torch'\n"
        f"assert '--help' not in {words!r} or 'zarr' not in sys.modules and 'numpy' not in sys.modules"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run(
        [sys.executable, "-c", code], cwd=finished, env=environment, check=True, capture_output=True
    )


def test_every_setting_is_spelled_out_with_a_comment_and_read_back(finished: Path) -> None:
    text = (finished / "experiment.toml").read_text()
    for key in config.all_keys():
        assert f"\n{key.split('.')[1]} = " in text
    lines = text.splitlines()
    assert all(
        lines[i - 1].startswith("# ") for i, line in enumerate(lines) if " = " in line and line[0] != "#"
    )
    assert config.read(finished / "experiment.toml") == load(finished).settings


@pytest.mark.parametrize("preset", ["cifar10", "cifar100"])
def test_presets_are_the_papers(preset: str) -> None:
    full, small = (config.resolve(config.preset(name)) for name in (preset, f"{preset}-small"))
    spaces = [each(ArchitecturesConfig) for each in (full, small)]
    assert [(each.channels, each.cells_per_stage) for each in spaces] == [(16, 5), (8, 2)]
    assert [each.number for each in spaces] == [1000, 200]
    assert (task_of(full).image_size, task_of(small).image_size) == (32, 16)
    assert full(RecordingConfig).steps == (1, *range(100, 2301, 100))
    assert (full(TrainingConfig).batch_size, full(TrainingConfig).epochs) == (256, 200)
    assert (small(RecordingConfig).steps[-1], small(DataConfig).validation_images) == (500, 1000)


def test_samples_of_different_data_sets_are_disjoint() -> None:
    samples = [
        draw(config.resolve(config.preset(name))(ArchitecturesConfig), None, name)
        for name in ("cifar10", "cifar100")
    ]
    assert [len(set(sample)) for sample in samples] == [1000, 1000]
    assert not set(samples[0]) & set(samples[1])


def test_only_paths_and_device_are_not_in_the_identity() -> None:
    free = set(config.all_keys()) - set(config.scientific(Settings()))
    collection = {key for key in free if key.split(".")[0] in {kind.SECTION for kind in COLLECTION}}
    assert collection == {"data.root", "labels.table", "training.device"}


def test_stages_are_known_by_their_names() -> None:
    assert all(stage.name == name for name, stage in STAGES.items())
