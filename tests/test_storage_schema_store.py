"""The store as a whole: what NaN means, views of it, a reader beside a writer."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from storage_schema import schema
from storage_schema.create import create
from storage_schema.read import FeatureMaps, StoreError, feature_map, open_dynamics, raw_map, written
from storage_schema.schema import Sizes
from storage_schema.write import ArchitectureWriter, file_digests, object_path, shared_files
from synthetic_store import ATTRIBUTES, static_values

SIZES = Sizes(architectures=3, snapshots=4, layers=9, mini_batches=6)
STEPS = (1, 2, 4, 6)
LAYERS, UNITS, DEAD = 5, 7, 2
L2 = schema.FEATURES.index("l2")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "s.zarr"
    values = static_values(SIZES, STEPS, layers=LAYERS, units=UNITS)
    values["reachable"][:, DEAD] = False
    create(path, SIZES, values, ATTRIBUTES)
    return path


def rows(snapshots: int = SIZES.snapshots) -> NDArray[np.float32]:
    """Statistics of the first snapshots; the dead layer's are zero."""
    found = np.full((SIZES.snapshots, SIZES.layers, schema.VALUES, 12), np.nan, np.float32)
    drawn = np.random.default_rng(5).normal(size=(SIZES.snapshots, LAYERS, UNITS + 1, 12)) * 50
    found[:snapshots, :LAYERS, : UNITS + 1] = drawn[:snapshots]
    found[:snapshots, DEAD, : UNITS + 1] = 0
    return found


def curves(snapshots: int) -> NDArray[np.float32]:
    found = np.full((SIZES.mini_batches, len(schema.CURVES)), np.nan, np.float32)
    found[[step - 1 for step in STEPS[:snapshots]], schema.CURVES.index("written")] = 1
    return found


def write(path: Path, index: int, maps: NDArray[np.float32], snapshots: int) -> None:
    writer = ArchitectureWriter(path, index)
    for kind in schema.KINDS:
        writer.write(kind, maps)
    writer.write("curves", curves(snapshots))


def test_padding_a_dead_layer_and_an_unwritten_snapshot_are_told_apart(store: Path) -> None:
    write(store, 0, rows(2), 2)
    data = open_dynamics(store).isel(architecture=0)
    norms = data["gradients"].isel(value=0, feature=L2).values
    there = data["units"].values > 0
    assert int(there.sum()) == int(data["layers"]) == LAYERS
    seen = written(store, [0])[0]
    assert seen.tolist() == [True, True, False, False]
    assert np.isnan(norms[:, ~there]).all()  # padding: no units
    assert np.isnan(norms[~seen][:, there]).all()  # unwritten: units, but the curves say so
    assert np.isfinite(norms[seen][:, there]).all()
    dead = there & ~data["reachable"].values
    assert np.flatnonzero(dead).tolist() == [DEAD]
    assert (norms[seen][:, dead] == 0).all()  # dead: zeros, not NaN
    unit_rows = data["weights"].isel(snapshot=0, layer=0, feature=0).values
    assert np.isfinite(unit_rows).tolist() == [True] * (UNITS + 1) + [False] * (schema.VALUES - UNITS - 1)


def test_a_diverged_network_has_maps_an_unwritten_one_has_none(store: Path) -> None:
    write(store, 0, rows(0), 3)  # every statistic is NaN, but three snapshots were taken
    maps = FeatureMaps(store, "weights")
    assert not maps[0, 2].any()
    with pytest.raises(StoreError, match=r"architecture 0 has no snapshot 3 in weights; .*--array 0"):
        maps[0, 3]
    with pytest.raises(StoreError, match="architecture 1 has no snapshot 0"):
        maps[1, 0]


@pytest.mark.parametrize("pair", [(3, 0), (-1, 0), (0, 4), (0, -1)])
def test_numbers_that_do_not_exist_are_refused(store: Path, pair: tuple[int, int]) -> None:
    write(store, 0, rows(), 4)
    with pytest.raises(StoreError, match="the store has 3 by 4"):
        FeatureMaps(store, "weights")[pair]


def test_a_cap_cuts_and_pads(store: Path) -> None:
    write(store, 1, rows(), 4)
    whole = FeatureMaps(store, "weights")[1, 2]
    assert whole.shape == (12, schema.LAYER_CAP, schema.VALUES)
    assert whole.dtype == np.float32
    assert not whole[:, LAYERS:].any()
    cut = FeatureMaps(store, "weights", cap=3)[1, 2]
    assert np.array_equal(cut, whole[:, :3])
    with pytest.raises(StoreError, match="cap = 0"):
        FeatureMaps(store, "weights", cap=0)


def test_a_raw_map_is_what_is_on_disk(store: Path) -> None:
    kept = rows()
    kept[1, 0, 3, 7] = np.inf
    write(store, 1, kept, 4)
    raw = FeatureMaps(store, "gradients", cap=12, raw=True)[1, 1]
    expected = np.full((12, 12, schema.VALUES), np.nan, np.float32)
    expected[:, : SIZES.layers] = kept[1].transpose(2, 0, 1)
    assert np.array_equal(raw, expected, equal_nan=True)


def test_a_map_keeps_what_a_naive_logarithm_would_erase() -> None:
    tiny = np.full((1, schema.VALUES, 12), 1e-9, np.float32)
    assert np.array_equal(feature_map(tiny, 1), raw_map(tiny, 1))  # log1p(x) is x; log(1 + x) would be 0
    assert np.array_equal(feature_map(-tiny, 1), -feature_map(tiny, 1))


def test_any_subset_comes_in_bounded_batches(store: Path) -> None:
    for index in (0, 2):
        write(store, index, rows(), 4)
    maps = FeatureMaps(store, "weights")
    pairs = [(2, 3), (0, 0), (2, 1), (0, 2), (2, 0)]
    batches = maps.batches(pairs, 2)
    assert isinstance(batches, Iterator)
    assert np.array_equal(np.concatenate(list(batches)), np.stack([maps[pair] for pair in pairs]))


def test_the_last_rewrite_decides_the_bytes(store: Path) -> None:
    write(store, 0, rows(), 4)
    for k in range(1, 5):
        write(store, 1, rows(k), k)
    assert file_digests(store, 0) == file_digests(store, 1)
    assert set(file_digests(store, 2)) == set()


def test_an_architecture_is_one_file_an_array(store: Path) -> None:
    before = {path for path in store.rglob("*") if path.is_file()}
    write(store, 2, rows(), 4)
    new = {path for path in store.rglob("*") if path.is_file()} - before
    assert new == {object_path(store, name, 2) for name in ("weights", "gradients", "curves")}


@contextmanager
def rewriting(store: Path) -> Iterator[None]:
    """A process that writes one growing architecture after another, over and over, until it is killed."""
    pid = os.fork()
    if pid == 0:
        while True:
            for k in range(1, 5):
                write(store, 0, rows(k), k)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_what_architectures_share_is_named_in_one_order(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder lists its files as it likes; the marker that names them has the same bytes each time."""
    named, walk = list(shared_files(store)), os.walk
    monkeypatch.setattr(
        os, "walk", lambda top: reversed([(at, under, files[::-1]) for at, under, files in walk(top)])
    )
    assert [name for name in shared_files(store) if name in named] == named == sorted(named)


def test_maps_read_beside_a_writer_are_whole_and_never_missing(store: Path) -> None:
    write(store, 0, rows(), 4)
    expected = {kind: FeatureMaps(store, kind)[0, 0] for kind in schema.KINDS}  # stands in every rewrite
    maps, reads, end = {kind: FeatureMaps(store, kind) for kind in schema.KINDS}, 0, time.monotonic() + 3
    with rewriting(store):
        while reads < 20 or time.monotonic() < end:  # a busy machine takes its time
            for kind in schema.KINDS:
                assert np.array_equal(maps[kind][0, 0], expected[kind])
            assert written(store, [0])[0, 0]
            reads += 1


def test_opening_reads_no_maps(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(store, 0, rows(), 4)
    object_path(store, "weights", 0).write_bytes(b"not a shard")
    data = open_dynamics(store)
    assert isinstance(data, xr.Dataset)
    assert data["weights"].chunks is None
    assert np.isfinite(data["gradients"][0, 3, 0, 0, 0].values)
