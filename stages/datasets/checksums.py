"""Where a data set's files lie, and the digests that vouch for them: official or a manifest's (R12).

A manifest is a JSON file beside the data, `{file: {"sha256": ..., "bytes": ...}}`, made on explicit request
only. Where one lies, it takes precedence over the official list: somebody asked for it. Digests are of a
file's content: an idx file may lie there plain or gzipped, by whatever compressor.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zlib
from collections.abc import Mapping
from gzip import GzipFile
from pathlib import Path
from typing import TypedDict

from stages.datasets.dataset import DataSet, Digest
from stages.datasets.errors import DataError
from stages.datasets.registry import datasets_in_files
from storage_schema import documents, durable

MANIFEST = "manifest.sha256.json"
ROOT_VARIABLE = "NAP2_DATA_ROOT"
MOST_BYTES = 2**30
"""Of one file, also when it is unpacked; the largest official one has 182 million."""


class _Entry(TypedDict):
    sha256: str
    bytes: int


def find_folder(root: str, dataset: DataSet) -> Path:
    """The folder that holds a data set's files: `root` itself or the one its archive unpacks to.

    Args:
        root: The setting `data.root`; empty means the environment variable NAP2_DATA_ROOT.
        dataset: One that lies in files.

    Raises:
        DataError: No root is set, or neither folder holds any of the files.
    """
    root = root or os.environ.get(ROOT_VARIABLE, "")
    if not root:
        raise DataError(
            f"{dataset.name}: no data folder; set data.root or {ROOT_VARIABLE} to the folder holding "
            f"{dataset.folder}/"
        )
    base = Path(root).expanduser()
    for folder in (base / dataset.folder, base):
        if any(_locate(folder, file, dataset.gzipped) for file in dataset.files):
            return folder
    raise DataError(
        f"{base}: none of {dataset.name}'s files here (expected {dataset.folder}/{dataset.files[0]}); "
        f"unpack the official archive there or change data.root"
    )


def names_at(root: str | Path) -> list[str]:
    """Data sets of which `root`, or the usual folder under it, holds at least one file."""
    found = []
    for name, dataset in datasets_in_files().items():
        try:
            find_folder(str(root), dataset)
        except DataError:
            continue
        found.append(name)
    return found


class Files:
    """A data set's files, each verified as it is read; the digests collected are its content digest."""

    def __init__(self, root: str, dataset: DataSet) -> None:
        """Find the folder and what vouches for it.

        Raises:
            DataError: The files are missing, or neither the official list nor a manifest vouches for them.
        """
        self.names = dataset.files
        self._gzipped = dataset.gzipped
        self.folder = find_folder(root, dataset)
        self._expected = _expected(self.folder, dataset)
        self._sha256: dict[str, str] = {}

    def path(self, file: str) -> Path:
        """Where a file lies, for messages.

        Raises:
            DataError: It does not exist.
        """
        path = _locate(self.folder, file, self._gzipped)
        if path is None:
            raise DataError(f"{self.folder / file}: file is missing; unpack the official archive again")
        return path

    def read(self, file: str) -> bytes:
        """The verified content of one file.

        Raises:
            DataError: It is missing, of another size, or altered.
        """
        path = self.path(file)
        content = _content(path)
        _verify(path, content, self._expected[file])
        self._sha256[file] = hashlib.sha256(content).hexdigest()
        return content

    def digest(self) -> str:
        """SHA-256 over the names and digests of all files; those not read yet are read now."""
        for file in self.names:
            if file not in self._sha256:
                self.read(file)
        lines = "".join(f"{file} {self._sha256[file]}\n" for file in self.names)
        return hashlib.sha256(lines.encode()).hexdigest()


def write_manifest(root: str | Path, name: str) -> Path:
    """Vouch for the files as they are now: write their digests beside them, atomically.

    Args:
        root: The data set's folder or its parent.
        name: Data set, one that lies in files.

    Returns:
        The manifest's path.

    Raises:
        DataError: A file is missing or empty, or the data set has no files.
    """
    known = datasets_in_files()
    if name not in known:
        raise DataError(f"{name!r} has no files to list; use one of {', '.join(known)}")
    dataset, folder = known[name], find_folder(str(root), known[name])
    entries = {file: _entry(folder, file, dataset.gzipped) for file in dataset.files}
    target = folder / MANIFEST
    listed = {**_read_manifest(target), **entries}
    durable.write(target, (json.dumps(listed, indent=2, sort_keys=True) + "\n").encode())
    return target


def _entry(folder: Path, file: str, gzipped: bool) -> dict[str, str | int]:
    path = _locate(folder, file, gzipped)
    if path is None:
        raise DataError(f"{folder / file}: file is missing; a manifest needs all of the data set's files")
    content = _content(path)
    if not content:
        raise DataError(f"{path}: file is empty; unpack the official archive again")
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def _locate(folder: Path, file: str, gzipped: bool) -> Path | None:
    candidates = [folder / file, folder / f"{file}.gz"] if gzipped else [folder / file]
    return next((path for path in candidates if path.is_file()), None)


def _content(path: Path) -> bytes:
    try:
        raw = documents.read_bytes(path, MOST_BYTES)
        content = GzipFile(fileobj=io.BytesIO(raw)).read(MOST_BYTES + 1) if path.suffix == ".gz" else raw
        if len(content) > MOST_BYTES:
            raise ValueError(f"it unpacks to more than {MOST_BYTES} bytes")
        return content
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); unpack the official archive again") from error


def _verify(path: Path, content: bytes, expected: Digest) -> None:
    if expected.size is not None and len(content) != expected.size:
        kind = "truncated" if len(content) < expected.size else "too long"
        raise DataError(
            f"{path}: {kind}, {len(content)} bytes instead of {expected.size}; "
            f"unpack the official archive again"
        )
    found = hashlib.new(expected.algorithm, content, usedforsecurity=False).hexdigest()
    if found != expected.hex:
        raise DataError(
            f"{path}: altered, {expected.algorithm} {found} instead of {expected.hex}; "
            f"unpack the official archive again, or vouch for it with `pipeline data manifest {path.parent}`"
        )


def _expected(folder: Path, dataset: DataSet) -> Mapping[str, Digest]:
    manifest = folder / MANIFEST
    listed = _parse_manifest(manifest) if manifest.is_file() else {}
    if all(file in listed for file in dataset.files):
        return listed
    if dataset.checksums:
        return dataset.checksums
    missing = next(file for file in dataset.files if file not in listed)
    raise DataError(
        f"{folder / missing}: no official checksum is known and no manifest lists it; "
        f"vouch for the files with `pipeline data manifest {folder}`"
    )


def _parse_manifest(path: Path) -> dict[str, Digest]:
    return {
        file: Digest(algorithm="sha256", hex=entry["sha256"], size=entry["bytes"])
        for file, entry in _read_manifest(path).items()
    }


def _read_manifest(path: Path) -> dict[str, _Entry]:
    if not path.is_file():
        return {}
    try:
        entries: dict[str, _Entry] = documents.load(path, dict[str, _Entry])
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a manifest ({error}); delete it and make it again") from error
    return entries
