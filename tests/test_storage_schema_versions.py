"""Stores of older versions of the schema, and with members of nobody's: each is held against its own table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from storage_schema import create, schema, write
from storage_schema.read import FeatureMaps, StoreError, open_derived, open_dynamics
from storage_schema.schema import Sizes, Variable
from storage_schema.write import ArchitectureWriter, shared_files, write_gathered
from synthetic_store import ATTRIBUTES, static_values

SIZES = Sizes(architectures=2, snapshots=2, layers=3, mini_batches=4)
STEPS = (1, 4)
GATHERED = Variable(
    dims=("architecture",), dtype="int64", written_by="finalise", description="later", since=2
)
TASK = Variable(
    dims=("architecture", "snapshot"),
    dtype="float32",
    written_by="task",
    chunk=("architecture",),
    description="later",
    since=2,
)


def make(path: Path, version: int) -> Path:
    values = static_values(SIZES, STEPS, layers=2)
    create.create(path, SIZES, values, ATTRIBUTES | {"schema_version": version})
    return path


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 2, with a variable of each kind that is not there from the beginning."""
    monkeypatch.setattr(schema, "VERSION", 2)
    monkeypatch.setitem(schema.VARIABLES, "rank", GATHERED)
    monkeypatch.setitem(schema.VARIABLES, "norms", TASK)
    monkeypatch.setattr(write, "TASK_ARRAYS", (*write.TASK_ARRAYS, "norms"))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return make(tmp_path / "old.zarr", 1)


def edit(path: Path, change: Any) -> None:
    content = json.loads((path / "zarr.json").read_bytes())
    change(content)
    (path / "zarr.json").write_text(json.dumps(content))


def members(path: Path) -> set[str]:
    return {place.name for place in path.iterdir() if place.is_dir()}


def test_a_store_is_held_against_the_table_of_its_version(old: Path, later: None, tmp_path: Path) -> None:
    assert not {"rank", "norms"} & set(open_dynamics(old).variables)
    new = make(tmp_path / "new.zarr", 2)
    assert {"rank", "norms"} <= set(open_dynamics(new).variables)
    edit(old, lambda content: content["attributes"].update(schema_version=2))
    with pytest.raises(StoreError, match="'norms' is not in the store"):
        open_dynamics(old)


def test_what_its_version_has_may_not_be_missing(old: Path) -> None:
    edit(old, lambda content: content["consolidated_metadata"]["metadata"].pop("flops"))
    with pytest.raises(StoreError, match="'flops' is not in the store"):
        open_dynamics(old)


@pytest.mark.parametrize("version", [0, -1, True, 1.0, "1", None])
def test_a_version_that_cannot_be_is_refused(version: Any, old: Path) -> None:
    edit(old, lambda content: content["attributes"].update(schema_version=version))
    with pytest.raises(StoreError, match="has no schema version"):
        open_dynamics(old)


def test_the_missing_of_an_old_store_is_made_as_it_was(old: Path, later: None) -> None:
    before = members(old)
    content = (old / "layers" / "zarr.json").read_bytes()
    (old / "layers" / "zarr.json").unlink()
    make(old, 1)
    assert (old / "layers" / "zarr.json").read_bytes() == content
    assert members(old) == before


def test_other_lengths_are_not_mixed_into_a_store(old: Path) -> None:
    sizes = Sizes(architectures=3, snapshots=2, layers=3, mini_batches=4)
    (old / "layers" / "zarr.json").unlink()
    with pytest.raises(StoreError, match="has other lengths than the experiment"):
        create.create(old, sizes, static_values(sizes, STEPS, layers=2), ATTRIBUTES)
    assert not (old / "layers" / "zarr.json").exists()


def test_a_writer_leaves_out_what_an_old_store_lacks(old: Path, later: None, tmp_path: Path) -> None:
    rows = np.ones(SIZES.snapshots, np.float32)
    ArchitectureWriter(old, 1).write("norms", rows)
    assert not (old / "norms").exists()
    new = make(tmp_path / "new.zarr", 2)
    ArchitectureWriter(new, 1).write("norms", rows)
    assert write.object_path(new, "norms", 1).is_file()
    with pytest.raises(KeyError, match="nrms"):
        ArchitectureWriter(old, 1).write("nrms", rows)


def test_gathering_into_an_old_store(old: Path, later: None) -> None:
    write_gathered(old, schema.VARIABLES, {"diverged": np.array([True, False])})
    assert open_dynamics(old)["diverged"].values.tolist() == [True, False]


def foreign(path: Path) -> None:
    """Put in an array and a group of one's own, and say so in the metadata, as zarr's own tools do."""
    group = zarr.open_group(path, mode="r+", use_consolidated=False)
    group.create_array("mine", shape=(7, 5), dtype="float32")  # its dimensions have no names
    group.create_group("notes").create_array("page", shape=(3,), dtype="int8")
    with pytest.warns(UserWarning, match="Consolidated metadata"):
        zarr.consolidate_metadata(str(path))


def test_what_somebody_else_put_there_is_not_looked_at(old: Path, later: None) -> None:
    maps = np.ones((SIZES.snapshots, SIZES.layers, schema.VALUES, len(schema.FEATURES)), np.float32)
    for name, rows in (("weights", maps), ("curves", np.ones((4, len(schema.CURVES)), np.float32))):
        ArchitectureWriter(old, 0).write(name, rows)
    before, files = open_dynamics(old).load(), set(shared_files(old))
    foreign(old)
    assert "mine" in zarr.open_group(old, mode="r")
    assert open_dynamics(old).load().identical(before)
    assert set(shared_files(old)) == files
    assert FeatureMaps(old, "weights")[0, 1].any()


def test_derived_stores_have_versions_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents: dict[str, Any] = {
        "predictor": ["a"],
        "size": ["all"],
        "index": [0],
        "architecture": ["x"],
        "snapshot": [1],
        "step": [3],
        "label": [0.5],
        "score": np.zeros((1, 1, 1, 1)),
    }
    path = tmp_path / "old.zarr"
    create.replace(path, schema.SCORES, contents, {"schema_version": 1})
    monkeypatch.setattr(schema, "VERSION", 2)
    later = Variable(dims=("size",), dtype="int64", written_by="static", description="later", since=2)
    monkeypatch.setitem(schema.SCORES, "learned_from", later)
    assert "learned_from" not in open_derived(path, "evaluate", schema.SCORES)
    create.replace(path, schema.SCORES, contents | {"learned_from": [7]}, {"schema_version": 1})
    assert "learned_from" not in open_derived(path, "evaluate", schema.SCORES)
    create.replace(path, schema.SCORES, contents | {"learned_from": [7]}, {"schema_version": 2})
    assert open_derived(path, "evaluate", schema.SCORES)["learned_from"].values.tolist() == [7]
