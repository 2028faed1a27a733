"""The experiment directory: made whole or not at all, and opened only as what it was made as."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.experiment import ExperimentError, draft, initialize, load
from pipeline.run import RunOptions, worker_count
from stages.search_spaces.nasbench201.genotype import NUM_GENOTYPES, Genotype
from storage_schema import durable, schema
from storage_schema.errors import UserError

FILES = ["experiment.toml", "identity.json", "plan.csv"]
SMALL = ("architectures.number=3", "recording.interval=3", "recording.snapshots=2", "labels.epochs=0")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return initialize(tmp_path / "e", "demo", SMALL).layout.root


def test_a_new_directory_and_an_empty_one_are_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("empty", "here"):
        (tmp_path / name).mkdir()
    identities = {initialize(tmp_path / name, "demo", SMALL).identity for name in ("new", "empty", "a/b")}
    monkeypatch.chdir(tmp_path / "here")
    identities.add(initialize(Path(), "demo", SMALL).identity)
    assert len(identities) == 1
    assert load(Path()).identity in identities
    for folder in ("new", "empty", "a/b", "here"):
        assert names(tmp_path / folder) == FILES
    assert names(tmp_path) == ["a", "empty", "here", "new"]


def test_a_draft_is_the_experiment_and_writes_nothing(tmp_path: Path) -> None:
    drafted, files = draft(tmp_path / "e", "demo", SMALL)
    assert names(tmp_path) == []
    assert drafted == initialize(tmp_path / "e", "demo", SMALL)
    assert {name: (tmp_path / "e" / name).read_bytes() for name in files} == files


@pytest.mark.parametrize("present", [False, True])
@pytest.mark.parametrize("nth", [0, 1, 2])
def test_a_disk_that_fills_up_leaves_nothing(
    present: bool, nth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if present:
        (tmp_path / "e").mkdir()
    count, write = 0, durable.write

    def full(path: Path, content: Any) -> None:
        nonlocal count
        if count == nth:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        count += 1
        write(path, content)

    monkeypatch.setattr(durable, "write", full)
    with pytest.raises(OSError, match="No space left"):
        initialize(tmp_path / "e", "demo", SMALL)
    assert [path.name for path in tmp_path.rglob("*")] == (["e"] if present else [])


def test_what_is_in_use_is_refused_and_kept(root: Path) -> None:
    before = {name: (root / name).read_bytes() for name in FILES}
    with pytest.raises(ExperimentError, match="choose another directory"):
        initialize(root, "demo", SMALL)
    assert {name: (root / name).read_bytes() for name in FILES} == before


def edit_record(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = root / "identity.json"
    record = json.loads(path.read_bytes())
    change(record)
    path.write_text(json.dumps(record))


def refused(root: Path, says: str) -> None:
    with pytest.raises(ExperimentError) as raised:
        load(root)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_told(name: str, root: Path) -> None:
    (root / name).unlink()
    refused(root, "restore it" if name == "plan.csv" else "pipeline init")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"settings": {"schema_version": "x"}}'])
def test_a_damaged_identity_is_told(content: bytes, root: Path) -> None:
    (root / "identity.json").write_bytes(content)
    refused(root, "identity.json is damaged")


def test_settings_changed_in_both_files_are_told(root: Path) -> None:
    toml = root / "experiment.toml"
    toml.write_text(toml.read_text().replace("batch_size = 64", "batch_size = 65"))
    refused(root, "training.batch_size 64 -> 65")
    edit_record(root, lambda record: record["settings"].update({"training.batch_size": 65}))
    refused(root, "identity.json is damaged")


def test_a_newer_schema_is_told_before_its_unknown_settings(root: Path) -> None:
    newer = schema.VERSION + 1
    edit_record(root, lambda record: record["settings"].update({"schema_version": newer}))
    with (root / "experiment.toml").open("a") as file:
        file.write("\n[invented]\nkey = 1\n")
    refused(root, f"schema version {newer} is newer than {schema.VERSION}; update")


def test_all_differing_settings_are_told(root: Path) -> None:
    toml = root / "experiment.toml"
    text = (
        toml.read_text()
        .replace("batch_size = 64", "batch_size = 65")
        .replace("snapshots = 2", "snapshots = 3")
    )
    toml.write_text(text)
    refused(root, "recording.snapshots 2 -> 3; training.batch_size 64 -> 65")


def table(
    path: Path, rows: int = NUM_GENOTYPES, scale: float = 100.0, column: str = "accuracy"
) -> tuple[str, ...]:
    lines = [f"{Genotype.from_number(n)},{scale * (0.1 + 0.8 * n / NUM_GENOTYPES)!r}" for n in range(rows)]
    path.write_text("\n".join([f"arch_str,{column}", *lines]) + "\n")
    return (*SMALL, "labels.source=table", f"labels.table={path}", "labels.column=accuracy")


def test_labels_known_beforehand_are_in_the_plan(tmp_path: Path) -> None:
    settings = table(tmp_path / "t.csv")
    made = initialize(tmp_path / "e", "demo", settings)
    expected = [0.1 + 0.8 * Genotype.parse(name).number / NUM_GENOTYPES for name in made.architectures]
    assert list(made.planned_labels) == pytest.approx(expected)
    (tmp_path / "t.csv").unlink()
    assert load(tmp_path / "e") == made  # the plan holds them: the table is not needed again


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"column": "other"}, ("no column 'accuracy'", "'arch_str', 'other'")),
        ({"scale": 1.0}, ('set labels.unit = "fraction"',)),
        ({"scale": 200.0}, ("outside [0, 100]",)),
        ({"rows": 2}, ("architectures.number = 3", "use at most 2")),
        ({"rows": 0}, ("has no rows",)),
    ],
)
def test_a_table_that_does_not_fit_is_refused(
    change: dict[str, Any], says: tuple[str, ...], tmp_path: Path
) -> None:
    settings = table(tmp_path / "t.csv", **change)
    with pytest.raises(UserError) as raised:
        initialize(tmp_path / "e", "demo", settings)
    assert all(part in str(raised.value) for part in says)
    assert names(tmp_path) == ["t.csv"]


@pytest.mark.parametrize(
    ("workers", "throttle", "expected"),
    [(0, None, 4), (0, 2, 2), (0, 99, 4), (6, 2, 2), (2, 6, 2), (6, None, 6), (99, None, 10)],
)
def test_a_throttle_caps_the_workers(
    workers: int, throttle: int | None, expected: int, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)), raising=False)
    options = RunOptions(cluster="local", workers=workers, throttle=throttle)
    assert worker_count(load(root), options, 10) == expected
