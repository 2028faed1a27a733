"""What the models are given: views of the maps, batches in bounded memory, read ahead and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stages.nap2.feature_maps.config import InputsConfig
from stages.nap2.feature_maps.maps import Maps, grouped, snapshots
from stages.nap2.feature_maps.variants import VARIANTS
from stages.settings import ConfigError
from storage_schema import schema
from storage_schema.create import create
from storage_schema.read import FeatureMaps
from storage_schema.schema import Sizes
from storage_schema.write import ArchitectureWriter
from synthetic_store import ATTRIBUTES, static_values

LAYERS, NETWORKS, SNAPSHOTS = 7, 3, 4
SIZES = Sizes(architectures=NETWORKS, snapshots=SNAPSHOTS, layers=9, mini_batches=6)
NAMES = ["|a|", "|b|", "|c|"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "s.zarr"
    create(path, SIZES, static_values(SIZES, (1, 2, 4, 6), layers=LAYERS), ATTRIBUTES)
    for index in range(NETWORKS):
        for kind in schema.KINDS:
            rows = np.full((SNAPSHOTS, SIZES.layers, schema.VALUES, 12), np.nan, np.float32)
            draws = np.random.default_rng([index, len(kind)]).normal(size=(SNAPSHOTS, LAYERS, 20, 12)) * 50
            rows[:, :LAYERS, :20] = draws
            rows[1, 2, 3, 4] = np.inf
            ArchitectureWriter(path, index).write(kind, rows)
    return path


def maps(store: Path, variant: str = "maps", kind: str = "weights", cap: int = 65, scratch: int = 0) -> Maps:
    return Maps(store, kind, VARIANTS[variant], NAMES, cap, scratch)


@pytest.mark.parametrize("cap", [65, 7, 3])
def test_a_batch_is_the_stores_maps_with_layers_first(store: Path, cap: int) -> None:
    pairs = [(0, 1), (2, 3), (1, 1)]
    batch = maps(store, cap=cap).batch(pairs)
    expected = np.stack([FeatureMaps(store, "weights", cap)[pair] for pair in pairs])
    np.testing.assert_array_equal(batch.transpose(0, 2, 1, 3), expected)


@pytest.mark.parametrize("scratch", [0, 1, 100])
def test_batches_come_in_order_whatever_is_kept(store: Path, scratch: int) -> None:
    source = maps(store, scratch=scratch)
    groups = grouped(source.pairs([2, 0, 1]), 2)
    for _ in range(2):
        found = list(source.batches(groups))
        assert len(found) == len(groups)
        for group, batch in zip(groups, found, strict=True):
            np.testing.assert_array_equal(batch, maps(store).batch(group))
    assert list(source.batches([])) == []


def test_what_is_kept_is_not_decoded_again_and_never_more_than_asked(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    original = FeatureMaps.rows
    monkeypatch.setattr(FeatureMaps, "rows", lambda self, *pair: reads.append(pair) or original(self, *pair))
    one = LAYERS * schema.VALUES * 12 * 4
    source = maps(store, scratch=1)
    source._scratch._room = 3 * one + 1
    pairs = source.pairs([0, 1, 2])
    for _ in range(2):
        source.batch(pairs)
    assert len(reads) == 2 * len(pairs) - 3
    assert source._scratch._end == 3 * one


def test_a_full_disk_ends_keeping_and_nothing_else(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = maps(store, scratch=100)
    pairs = source.pairs([0, 1])
    plain = source.batch(pairs[:2])
    monkeypatch.setattr("os.pwrite", lambda *_: 3)
    np.testing.assert_array_equal(source.batch(pairs), maps(store).batch(pairs))
    monkeypatch.undo()
    np.testing.assert_array_equal(source.batch(pairs[:2]), plain)
    assert len(source._scratch._kept) == 2


def test_an_error_in_reading_ahead_reaches_the_caller(store: Path) -> None:
    with pytest.raises(ValueError, match="no snapshot 9"):
        list(maps(store).batches([[(0, 1)], [(0, 9)]]))


def test_no_sequence_contains_the_initial_snapshot_but_the_controls(store: Path) -> None:
    assert {k for _, k in maps(store).pairs([0, 1])} == {1, 2, 3}
    assert maps(store, "initial").pairs([0, 1]) == [(0, 0), (1, 0)]
    assert snapshots(VARIANTS["shuffled"], 4) == range(1, 4)


def test_the_mask_knows_which_entries_exist_and_no_value(store: Path) -> None:
    batch = maps(store, "mask").batch([(0, 1)])[0]
    assert set(np.unique(batch)) == {np.float32(0), np.log1p(np.float32(1))}
    raw = FeatureMaps(store, "weights", raw=True)[0, 1]
    np.testing.assert_array_equal(batch.transpose(1, 0, 2) > 0, np.isfinite(raw))


def test_shuffled_layers_are_one_permutation_of_an_architecture(store: Path) -> None:
    order = None
    for kind in schema.KINDS:
        for k in (1, 2, 3):
            plain = maps(store, "maps", kind).batch([(1, k)])[0]
            mixed = maps(store, "shuffled", kind).batch([(1, k)])[0]
            assert not mixed[LAYERS:].any()
            found = [int(np.flatnonzero((plain[:LAYERS] == row).all((1, 2)))[0]) for row in mixed[:LAYERS]]
            assert sorted(found) == list(range(LAYERS))
            order = order or found
            assert found == order
    assert order != list(range(LAYERS))


def test_norms_alone_leave_nothing_else(store: Path) -> None:
    plain, norms = (maps(store, name).batch([(0, 2)])[0] for name in ("maps", "norms"))
    kept = [schema.FEATURES.index(name) for name in ("l1", "l2")]
    np.testing.assert_array_equal(norms[:, kept], plain[:, kept])
    assert not np.delete(norms, kept, axis=1).any()


def test_a_last_batch_of_one_joins_the_one_before() -> None:
    pairs = [(i, 1) for i in range(9)]
    assert [len(group) for group in grouped(pairs, 4)] == [4, 5]
    assert [len(group) for group in grouped(pairs, 5)] == [5, 4]
    assert [len(group) for group in grouped(pairs[:1], 4)] == [1]
    assert [pair for group in grouped(pairs, 4) for pair in group] == pairs


@pytest.mark.parametrize("text", ["", "maps maps", "mapz"])
def test_variants_that_are_not_there_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"inputs\.variants"):
        InputsConfig(variants=text)


def test_each_encoder_is_trained_once() -> None:
    config = InputsConfig(variants="weights mask maps gradients")
    assert [variant.name for variant in config.encoded] == ["maps", "mask"]
