"""Lazy views of a store: the data set as it is, and the feature maps that models see (R2, R8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from storage_schema import schema
from storage_schema.known import KnownStore
from storage_schema.schema import Variable
from storage_schema.validate import StoreError, check_store, reading

__all__ = [
    "FeatureMaps",
    "StoreError",
    "check_identity",
    "open_derived",
    "open_dynamics",
    "reading",
    "written",
]


def open_dynamics(path: Path) -> xr.Dataset:
    """Open a store lazily; nothing but metadata and coordinates is read.

    Raises:
        StoreError: There is no store, its schema is newer than this code, or it is damaged.
    """
    if not (path / "zarr.json").is_file():
        raise StoreError(f"{path} is not a store; fill it with: pipeline run --stage collect")
    return _open(path, _checked(path, schema.VARIABLES))


def open_derived(path: Path, stage: str, table: Mapping[str, Variable]) -> xr.Dataset:
    """Open a store that a stage wrote whole, lazily.

    Args:
        path: The store.
        stage: Which wrote it.
        table: What it holds (`schema.EMBEDDINGS`, `schema.SCORES`).

    Raises:
        StoreError: There is none, or it is damaged.
    """
    if not (path / "zarr.json").is_file():
        raise StoreError(f"{path} is not there; make it with: pipeline run --stage {stage}")
    return _open(path, _checked(path, table))


def _checked(path: Path, table: Mapping[str, Variable]) -> Path | KnownStore:
    others = check_store(path, table)
    return KnownStore(path, others) if others else path


def _open(path: Path, store: Path | KnownStore) -> xr.Dataset:
    with reading(path):
        # Lazily indexed, with or without dask.
        dataset: xr.Dataset = xr.open_zarr(store, chunks=None, consolidated=True)
    return dataset


def check_identity(path: Path, identity: str) -> None:
    """Refuse a store of another experiment.

    Raises:
        StoreError: Its identity is not `identity`.
    """
    found = open_dynamics(path).attrs.get("identity")
    if found != identity:
        raise StoreError(
            f"{path} belongs to experiment {found}, not {identity}; move it away, then run again"
        )


def written(path: Path, architectures: Sequence[int] | slice = slice(None)) -> NDArray[np.bool_]:
    """Return which snapshots are on disk by now, bool (architectures, snapshots), also while tasks run."""
    dataset = open_dynamics(path)
    with reading(path):
        dataset = dataset.isel(architecture=architectures)
        live = dataset["curves"].sel(curve="written", mini_batch=dataset["step"]).notnull()
        found: NDArray[np.bool_] = live.transpose("architecture", "snapshot").values
    return found


class FeatureMaps:
    """Feature maps of one kind, read when asked for; one map touches one file.

    Args:
        path: The store.
        kind: `weights` or `gradients`.
        cap: Layers of a map: deeper networks are cut, others padded with zeros (R2).
        raw: Give the statistics as they are on disk: no logarithm, NaN where there is no value, padding too.
    """

    def __init__(self, path: Path, kind: str, cap: int = schema.LAYER_CAP, *, raw: bool = False) -> None:
        if kind not in schema.KINDS:
            raise StoreError(f"unknown kind {kind!r}; use one of {', '.join(schema.KINDS)}")
        if cap < 1:
            raise StoreError(f"cap = {cap} leaves no layer; use 1 or more (paper: {schema.LAYER_CAP})")
        open_dynamics(path)
        self._path, self._kind, self._cap, self._raw = path, kind, cap, raw
        with reading(path):
            group = zarr.open_group(_checked(path, schema.VARIABLES), mode="r", use_consolidated=True)
            array, layers = group[kind], group["layers"]
            assert isinstance(array, zarr.Array)
            assert isinstance(layers, zarr.Array)
            self._array: zarr.Array[Any] = array
            self._layers = np.minimum(np.asarray(layers[...]), cap)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of architectures and of snapshots, the initial one included."""
        return self._array.shape[0], self._array.shape[1]

    def __getitem__(self, pair: tuple[int, int]) -> NDArray[np.float32]:
        """Return the map of (architecture, snapshot), float32 (feature 12, layer cap, value 100).

        Raises:
            StoreError: The snapshot is not written, or there is none of this number.
        """
        rows = self.rows(*pair)
        return raw_map(rows, self._cap) if self._raw else feature_map(rows, self._cap)

    def rows(self, architecture: int, snapshot: int) -> NDArray[np.float32]:
        """Return the statistics of the layers there are, up to the cap, as on disk: (layer, value, feature).

        Raises:
            StoreError: The snapshot is not written, or there is none of this number.
        """
        where = f"{self._path}: architecture {architecture} has no snapshot {snapshot} in {self._kind}"
        if not (0 <= architecture < self.shape[0] and 0 <= snapshot < self.shape[1]):
            raise StoreError(f"{where}: the store has {self.shape[0]} by {self.shape[1]}")
        with reading(self._path):
            rows: NDArray[np.float32] = np.asarray(
                self._array[architecture, snapshot, : int(self._layers[architecture])]
            )
        # A layer's norm exists, unless nothing is written or the network diverged, which the curves tell apart.
        if (
            np.isnan(rows[:, 0, schema.FEATURES.index("l2")]).all()
            and not (written(self._path, [architecture])[0, snapshot])
        ):
            raise StoreError(
                f"{where}; collect it first: pipeline run --stage collect --array {architecture}"
            )
        return rows

    def batches(self, pairs: Sequence[tuple[int, int]], size: int) -> Iterator[NDArray[np.float32]]:
        """Yield maps of the pairs in order, (up to `size`, 12, cap, 100); no more than one batch is in memory."""
        for start in range(0, len(pairs), size):
            yield np.stack([self[pair] for pair in pairs[start : start + size]])


def feature_map(rows: NDArray[np.float32], cap: int = schema.LAYER_CAP) -> NDArray[np.float32]:
    """Turn statistics (layer, value, feature) into a map (feature, cap, value): normalized, zeros beyond the layers."""
    kept = rows[:cap]
    result = np.zeros((rows.shape[2], cap, rows.shape[1]), np.float32)
    result[:, : len(kept)] = normalized(kept).transpose(2, 0, 1)
    return result


def normalized(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return sign(x)·log1p(|x|), and zero for what is not finite (paper 3.3, R8)."""
    result = np.log1p(np.abs(rows))
    np.copysign(result, rows, out=result)
    result[~np.isfinite(rows)] = 0
    return result


def raw_map(rows: NDArray[np.float32], cap: int = schema.LAYER_CAP) -> NDArray[np.float32]:
    """Put statistics (layer, value, feature) in the order of a map, as they are; NaN where a layer is not there."""
    result = np.full((rows.shape[2], cap, rows.shape[1]), np.nan, np.float32)
    kept = rows[:cap]
    result[:, : len(kept)] = kept.transpose(2, 0, 1)
    return result
