"""Files that vouch for themselves: content, then its SHA-256 together with the file's own name.

Two sealed files that were swapped are as damaged as one with a flipped bit.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from storage_schema import durable

SEAL_BYTES = hashlib.sha256().digest_size


def write(path: Path, content: memoryview) -> None:
    """Replace `path` by sealed content, durably."""

    def write_both(file: BinaryIO) -> None:
        file.write(content)
        file.write(_seal(path, content))

    durable.write(path, write_both)


def read(path: Path) -> memoryview | None:
    """Return the content; None where it is damaged.

    Raises:
        FileNotFoundError: There is none.
    """
    raw = memoryview(path.read_bytes())
    content, seal = raw[:-SEAL_BYTES], raw[-SEAL_BYTES:]
    return content if _seal(path, content) == seal else None


def _seal(path: Path, content: memoryview) -> bytes:
    total = hashlib.sha256(f"{path.parent.name}/{path.name}\0".encode())
    total.update(content)
    return total.digest()
