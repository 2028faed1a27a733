"""Where a data set's files lie, and the digests that vouch for them: official or a manifest's (SPEC R12).

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
from dataclasses import dataclass
from gzip import GzipFile
from pathlib import Path
from typing import TypedDict

from stages.datasets.errors import DataError
from storage_schema import documents, durable

MANIFEST = "manifest.sha256.json"
ROOT_VARIABLE = "NAP2_DATA_ROOT"
MOST_BYTES = 2**30
"""Of one file, also when it is unpacked; the largest official one has 182 million."""


class _Entry(TypedDict):
    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Digest:
    """What a file's content must be: its digest and, where known, its size in bytes."""

    algorithm: str
    hex: str
    size: int | None = None


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A data set on disk: the folder its archive unpacks to, its files, and whether they may be gzipped."""

    folder: str
    files: tuple[str, ...]
    gzipped: bool = False


LAYOUTS: dict[str, Layout] = {
    "cifar10": Layout(
        folder="cifar-10-batches-bin",
        files=(*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"),
    ),
    "cifar100": Layout(folder="cifar-100-binary", files=("train.bin", "test.bin")),
    "svhn": Layout(folder="svhn", files=("train_32x32.mat", "test_32x32.mat")),
    "imagenet16_120": Layout(
        folder="ImageNet16", files=(*(f"train_data_batch_{i}" for i in range(1, 11)), "val_data")
    ),
    "fashion_mnist": Layout(
        folder="fashion-mnist",
        files=(
            "train-images-idx3-ubyte",
            "train-labels-idx1-ubyte",
            "t10k-images-idx3-ubyte",
            "t10k-labels-idx1-ubyte",
        ),
        gzipped=True,
    ),
}
"""Every data set that lies in files; `digits` comes with scikit-learn."""


def _sha256(size: int | None, digests: Mapping[str, str]) -> dict[str, Digest]:
    return {name: Digest(algorithm="sha256", hex=value, size=size) for name, value in digests.items()}


def _md5(digests: Mapping[str, str]) -> dict[str, Digest]:
    return {name: Digest(algorithm="md5", hex=value) for name, value in digests.items()}


OFFICIAL: dict[str, dict[str, Digest]] = {
    # Computed from the complete official set: the authors publish a digest of the archive alone.
    "cifar10": _sha256(
        30_730_000,
        {
            "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
            "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
            "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
            "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
            "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
            "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
        },
    ),
    # As torchvision's SVHN publishes them.
    "svhn": _md5(
        {
            "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
            "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
        },
    ),
    # Of the uncompressed content, as Debian's package dataset-fashion-mnist ships it.
    "fashion_mnist": _sha256(
        None,
        {
            "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
    ),
    # As NAS-Bench-201's authors publish them with their reader of ImageNet16.
    "imagenet16_120": _md5(
        {
            "train_data_batch_1": "27846dcaa50de8e21a7d1a35f30f0e91",
            "train_data_batch_2": "c7254a054e0e795c69120a5727050e3f",
            "train_data_batch_3": "4333d3df2e5ffb114b05d2ffc19b1e87",
            "train_data_batch_4": "1620cdf193304f4a92677b695d70d10f",
            "train_data_batch_5": "348b3c2fdbb3940c4e9e834affd3b18d",
            "train_data_batch_6": "6e765307c242a1b3d7d5ef9139b48945",
            "train_data_batch_7": "564926d8cbf8fc4818ba23d2faac7564",
            "train_data_batch_8": "f4755871f718ccb653440b9dd0ebac66",
            "train_data_batch_9": "bb6dd660c38c58552125b1a92f86b5d4",
            "train_data_batch_10": "8f03f34ac4b42271a294f91bf480f29b",
            "val_data": "3410e3017fdaefba8d5073aaa65e4bd6",
        }
    ),
}


def find_folder(root: str, name: str) -> Path:
    """The folder that holds a data set's files: `root` itself or the one its archive unpacks to.

    Args:
        root: The setting `data.root`; empty means the environment variable NAP2_DATA_ROOT.
        name: Data set.

    Raises:
        DataError: No root is set, or neither folder holds any of the files.
    """
    root = root or os.environ.get(ROOT_VARIABLE, "")
    layout = LAYOUTS[name]
    if not root:
        raise DataError(
            f"{name}: no data folder; set data.root or {ROOT_VARIABLE} to the folder holding {layout.folder}/"
        )
    base = Path(root).expanduser()
    for folder in (base / layout.folder, base):
        if any(_locate(folder, file, layout.gzipped) for file in layout.files):
            return folder
    raise DataError(
        f"{base}: none of {name}'s files here (expected {layout.folder}/{layout.files[0]}); "
        f"unpack the official archive there or change data.root"
    )


def names_at(root: str | Path) -> list[str]:
    """Data sets of which `root`, or the usual folder under it, holds at least one file."""
    found = []
    for name in LAYOUTS:
        try:
            find_folder(str(root), name)
        except DataError:
            continue
        found.append(name)
    return found


class Files:
    """A data set's files, each verified as it is read; the digests collected are its content digest."""

    def __init__(self, root: str, name: str) -> None:
        """Find the folder and what vouches for it.

        Raises:
            DataError: The files are missing, or neither the official list nor a manifest vouches for them.
        """
        self._layout = LAYOUTS[name]
        self.folder = find_folder(root, name)
        self._expected = _expected(self.folder, name)
        self._sha256: dict[str, str] = {}

    def path(self, file: str) -> Path:
        """Where a file lies, for messages.

        Raises:
            DataError: It does not exist.
        """
        path = _locate(self.folder, file, self._layout.gzipped)
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
        for file in self._layout.files:
            if file not in self._sha256:
                self.read(file)
        lines = "".join(f"{file} {self._sha256[file]}\n" for file in self._layout.files)
        return hashlib.sha256(lines.encode()).hexdigest()


def write_manifest(root: str | Path, name: str) -> Path:
    """Vouch for the files as they are now: write their digests beside them, atomically.

    Args:
        root: The data set's folder or its parent.
        name: Data set, a key of `LAYOUTS`.

    Returns:
        The manifest's path.

    Raises:
        DataError: A file is missing or empty, or the data set has no files.
    """
    if name not in LAYOUTS:
        raise DataError(f"{name!r} has no files to list; use one of {', '.join(LAYOUTS)}")
    layout, folder = LAYOUTS[name], find_folder(str(root), name)
    entries = {file: _entry(folder, file, layout.gzipped) for file in layout.files}
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


def _expected(folder: Path, name: str) -> dict[str, Digest]:
    manifest = folder / MANIFEST
    listed = _parse_manifest(manifest) if manifest.is_file() else {}
    files = LAYOUTS[name].files
    if all(file in listed for file in files):
        return listed
    if name in OFFICIAL:
        return OFFICIAL[name]
    missing = next(file for file in files if file not in listed)
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
