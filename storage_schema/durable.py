"""Writing a file so that it is there whole or not at all, and stays after a power cut."""

from __future__ import annotations

import errno
import glob
import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

PARTIAL = ".partial"


def write(path: Path, content: bytes | bytearray | memoryview | Callable[[BinaryIO], object]) -> None:
    """Replace `path` by `content`: temporary file, fsync, rename, fsync of the folder.

    Args:
        path: Where the content goes; missing folders are made.
        content: The bytes, or a function that writes them to the open file.
    """
    make_folder(path.parent)
    temporary = beside(path)
    try:
        with temporary.open("xb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, each durably: a file in a folder that a power cut takes away is gone too."""
    if path.is_dir():
        return
    make_folder(path.parent)
    try:
        path.mkdir(exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from error
    sync_folder(path.parent)


def beside(path: Path) -> Path:
    """Return the temporary name of what will be renamed to `path`."""
    return path.with_name(f"{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}{PARTIAL}")


def remove_left_beside(path: Path) -> None:
    """Remove what writers of `path` that were killed have left; whoever calls it is its only writer."""
    if path.parent.is_dir():
        for left in path.parent.glob(f"{glob.escape(path.name)}.*{PARTIAL}"):
            remove(left)


def remove(path: Path) -> None:
    """Remove a file or a folder that may be gone already."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as JSON."""
    write(path, as_json(value))


def as_json(value: Any) -> bytes:
    """Return what `write_json` writes."""
    return (json.dumps(value, indent=1) + "\n").encode()


def sync_folder(folder: Path) -> None:
    """Make renames and removals within a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class DurableStore(LocalStore):
    """A Zarr store on local files whose objects are written by `write` (Zarr itself does not fsync)."""

    async def set(self, key: str, value: Buffer) -> None:
        """Write one object, whole or not at all."""
        write(self.root / key, value.as_buffer_like())

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write one object, whole or not at all."""
        write(self.root / key, value.as_buffer_like())
