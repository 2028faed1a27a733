"""Stores as they are read: by plain xarray, as feature maps, while being written (R2, R8)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from zarr.storage import LocalStore

from storage_schema import schema
from storage_schema.create import create
from storage_schema.read import FeatureMaps, StoreError, check_identity, feature_map, written
from storage_schema.schema import Sizes
from storage_schema.write import ArchitectureWriter, object_path, write_gathered
from synthetic_store import ATTRIBUTES, static_values

SIZES = Sizes(architectures=4, snapshots=5, layers=70, mini_batches=8)
STEPS = (1, 2, 4, 6, 8)


def make(path: Path, layers: int = 20) -> Path:
    create(path, SIZES, static_values(SIZES, STEPS, layers=layers), ATTRIBUTES)
    return path


def rows(snapshots: int, layers: int = 20) -> np.ndarray[Any, np.dtype[np.float32]]:
    found = np.full((SIZES.snapshots, SIZES.layers, schema.VALUES, 12), np.nan, np.float32)
    shape = (snapshots, layers, 30, 12)
    found[:snapshots, :layers, :30] = np.random.default_rng(snapshots).normal(size=shape) * 100
    return found


def test_plain_xarray_opens_it_without_a_warning(tmp_path: Path) -> None:
    path = make(tmp_path / "s.zarr")
    code = (
        f"import xarray as xr; d = xr.open_zarr({str(path)!r}); print(list(d.step.values), d.weights.dims[0])"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == [
        "[np.int64(1),",
        *[f"np.int64({s})," for s in STEPS[1:-1]],
        "np.int64(8)]",
        "architecture",
    ]
    assert result.stderr == ""


def test_every_variable_says_what_it_is(tmp_path: Path) -> None:
    data = xr.open_zarr(make(tmp_path / "s.zarr"))
    assert set(data.variables) == set(schema.VARIABLES)
    assert all(data[name].attrs["description"] and data[name].attrs["units"] for name in data.variables)


def test_a_map_is_the_capped_zero_filled_sign_log(tmp_path: Path) -> None:
    path = make(tmp_path / "s.zarr", layers=70)
    kept = rows(2, layers=70)
    kept[1, 3, 4, 5] = -np.inf
    ArchitectureWriter(path, 1).write("weights", kept)
    found = FeatureMaps(path, "weights")[1, 1]
    assert found.shape == (12, 65, 100)
    for feature, layer, value in [(0, 0, 0), (5, 3, 4), (11, 64, 29), (2, 10, 50)]:
        x = kept[1, layer, value, feature]
        expected = np.sign(x) * np.log1p(abs(x)) if np.isfinite(x) else 0.0
        assert found[feature, layer, value] == pytest.approx(expected, rel=1e-6)
    assert not feature_map(kept[1, :20])[:, 20:].any()


def test_one_map_touches_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "s.zarr")
    for index in range(3):
        ArchitectureWriter(path, index).write("weights", rows(5))
    maps, touched, get = FeatureMaps(path, "weights"), set(), LocalStore.get

    async def counting(self: LocalStore, key: str, *args: Any, **kwargs: Any) -> Any:
        touched.add(key)
        return await get(self, key, *args, **kwargs)

    monkeypatch.setattr(LocalStore, "get", counting)
    sync = LocalStore.get_sync

    def counting_sync(self: LocalStore, key: str, *args: Any, **kwargs: Any) -> Any:
        touched.add(key)
        return sync(self, key, *args, **kwargs)

    monkeypatch.setattr(LocalStore, "get_sync", counting_sync)
    maps[2, 3]
    assert touched == {str(object_path(path, "weights", 2).relative_to(path))}


def test_batches_are_the_maps_in_order(tmp_path: Path) -> None:
    path = make(tmp_path / "s.zarr")
    ArchitectureWriter(path, 0).write("gradients", rows(5))
    maps = FeatureMaps(path, "gradients")
    pairs = [(0, 3), (0, 1), (0, 2)]
    parts = list(maps.batches(pairs, 2))
    assert [len(part) for part in parts] == [2, 1]
    assert np.array_equal(parts[1][0], maps[0, 2])


def test_what_is_not_written_is_an_error_not_zeros(tmp_path: Path) -> None:
    path = make(tmp_path / "s.zarr")
    ArchitectureWriter(path, 0).write("weights", rows(2))
    with pytest.raises(StoreError, match="architecture 0 has no snapshot 4"):
        FeatureMaps(path, "weights")[0, 4]
    with pytest.raises(StoreError, match="unknown kind"):
        FeatureMaps(path, "weight")


def test_written_is_live(tmp_path: Path) -> None:
    path = make(tmp_path / "s.zarr")
    curves = np.full((SIZES.mini_batches, len(schema.CURVES)), np.nan, np.float32)
    curves[[0, 1], schema.CURVES.index("written")] = 1
    ArchitectureWriter(path, 2).write("curves", curves)
    assert written(path, [1, 2]).tolist() == [[False] * 5, [True, True, False, False, False]]


def test_another_identity_or_a_newer_schema_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "s.zarr")
    check_identity(path, "me")
    with pytest.raises(StoreError, match="belongs to experiment me, not you"):
        check_identity(path, "you")
    monkeypatch.setattr(schema, "VERSION", 0)
    with pytest.raises(StoreError, match="newer"):
        check_identity(path, "me")


def test_chunks_already_written_do_not_move(tmp_path: Path) -> None:
    path = make(tmp_path / "s.zarr")
    writer, before = ArchitectureWriter(path, 0), b""
    index_bytes = 16 * SIZES.snapshots + 4
    whole = rows(5)
    for k in range(1, 6):
        growing = whole.copy()
        growing[k:] = np.nan
        writer.write("weights", growing)
        after = object_path(path, "weights", 0).read_bytes()
        assert after.startswith(before)
        before = after[:-index_bytes]


def test_a_reader_beside_a_writer_sees_whole_snapshots(tmp_path: Path) -> None:
    path, whole = make(tmp_path / "s.zarr"), rows(5)
    pid = os.fork()
    if pid == 0:
        writer = ArchitectureWriter(path, 0)
        while True:
            for k in range(1, 6):
                growing = whole.copy()
                growing[k:] = np.nan
                writer.write("weights", growing)
    try:
        end, seen = time.monotonic() + 4, 0
        while seen < 20 or time.monotonic() < end:  # a busy machine takes its time
            found = xr.open_zarr(path)["weights"][0].values
            for k in range(5):
                nothing = np.isnan(found[k]).all()
                assert nothing or np.array_equal(found[k], whole[k], equal_nan=True)
                seen += not nothing
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_two_processes_create_it_at_once(tmp_path: Path) -> None:
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            make(tmp_path / "s.zarr")
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.zarr"]
    assert xr.open_zarr(tmp_path / "s.zarr").sizes["architecture"] == 4


def test_gathered_values_leave_the_metadata_alone(tmp_path: Path) -> None:
    path = make(tmp_path / "s.zarr")
    before = (path / "zarr.json").read_bytes()
    write_gathered(path, schema.VARIABLES, {"diverged": np.array([True, False, False, False])})
    assert (path / "zarr.json").read_bytes() == before
    assert xr.open_zarr(path)["diverged"].values.tolist() == [True, False, False, False]
