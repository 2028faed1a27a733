"""Writing one architecture's part of the store: its own shards and chunk, each replaced whole.

A shard is never read before it is written: two processes that merge rows into one shard lose rows silently, so
the owner of an architecture keeps its rows in memory and writes them all at every snapshot (docs/decisions/0002).
Chunks of a shard stand in the order of the snapshots and do not change once written, so whoever reads while the file
is being replaced finds the same bytes at the same offsets in the old and the new one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from storage_schema import schema
from storage_schema.durable import DurableStore
from storage_schema.schema import Variable
from storage_schema.validate import StoreError, check_arrays, reading, schema_version

TASK_ARRAYS = tuple(name for name, v in schema.VARIABLES.items() if v.written_by == "task")


class ArchitectureWriter:
    """Writes the arrays of one architecture.

    Args:
        path: The store.
        index: Position of the architecture in the plan.
    """

    def __init__(self, path: Path, index: int) -> None:
        self._path = path
        self._index = index
        there = schema.as_of(schema.VARIABLES, schema_version(path))
        self._arrays = _arrays(path, there, tuple(name for name in TASK_ARRAYS if name in there))

    def write(self, name: str, rows: NDArray[np.float32]) -> None:
        """Replace the architecture's entry of one array; what the store's version does not have is left out.

        Args:
            name: `weights`, `gradients` or `curves`.
            rows: Everything known so far, NaN elsewhere, in the shape of the array without its first dimension.
        """
        if name in self._arrays or name not in TASK_ARRAYS:
            self._arrays[name][self._index] = rows

    def digests(self) -> dict[str, str]:
        """Return SHA-256 of the architecture's files, by array."""
        return file_digests(self._path, self._index)


def _arrays(path: Path, table: Mapping[str, Variable], names: tuple[str, ...]) -> dict[str, zarr.Array[Any]]:
    check_arrays(path, table, names)
    with reading(path):
        group = zarr.open_group(DurableStore(path), mode="r+", use_consolidated=False)
        found = {name: group[name] for name in names}
        return {name: array for name, array in found.items() if isinstance(array, zarr.Array)}


def object_path(path: Path, name: str, index: int) -> Path:
    """Return the one file that holds an architecture's entry of a task's array."""
    others = len(schema.VARIABLES[name].dims) - 1
    return path.joinpath(name, "c", str(index), *["0"] * others)


def file_digests(path: Path, index: int) -> dict[str, str]:
    """Return SHA-256 of an architecture's files, by array; absent files are left out."""
    found = {name: object_path(path, name, index) for name in TASK_ARRAYS}
    return {
        name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in found.items() if file.is_file()
    }


def shared_files(path: Path) -> dict[str, Path]:
    """Return the store's files that belong to no single architecture, by their paths within it, in order.

    What somebody else has put beside its arrays is none of them.
    """
    found: dict[str, Path] = {}
    for folder, folders, files in os.walk(path):
        inside = Path(folder).relative_to(path)
        if inside == Path():
            folders[:] = [name for name in folders if name in schema.VARIABLES or name in schema.ZERO_COST]
        if str(inside) in TASK_ARRAYS and "c" in folders:
            folders.remove("c")  # the architectures' own
        found |= {str(inside / file): Path(folder) / file for file in files}
    # Not as the folder lists them: the marker of the same files has the same bytes.
    return dict(sorted(found.items()))


def write_gathered(path: Path, table: Mapping[str, Variable], values: Mapping[str, Any]) -> None:
    """Replace the arrays that are gathered from markers.

    Args:
        path: The store.
        table: What it holds (`schema.VARIABLES`, `schema.ZERO_COST`).
        values: The arrays, whole, by name.

    Raises:
        StoreError: The store is damaged or of other sizes.
    """
    arrays = _arrays(path, table, tuple(values))
    for name, value in values.items():
        if arrays[name].shape != value.shape:
            raise StoreError(
                f"{path}: {name} has the shape {arrays[name].shape} instead of {value.shape}; restore it from a copy"
            )
        arrays[name][...] = value


def digest(path: Path) -> str | None:
    """Return SHA-256 of a file, or of every file of a folder with its name; None when there is none."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    files = sorted(file for file in path.rglob("*") if file.is_file())
    if not files:
        return None
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.relative_to(path)}\0".encode())
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def digests(paths: Mapping[str, Path]) -> dict[str, str]:
    """Return the digest of each path that is there."""
    found = {name: digest(path) for name, path in paths.items()}
    return {name: value for name, value in found.items() if value is not None}
