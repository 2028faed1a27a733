"""Done-markers: the only proof that something is finished. They come last and vouch for content by digest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from storage_schema import documents, durable
from storage_schema.errors import UserError

_INDEX: Final = re.compile("[0-9]{5,9}")


class MarkerError(UserError, ValueError):
    """A marker that cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Marker:
    """What one finished index of a stage says of itself.

    Attributes:
        index: Its position when it was finished.
        identity: What it follows from.
        fence: Number of the execution that finished it (storage_schema.lease).
        digests: SHA-256 of each file or value that the marker vouches for.
        result: Scalars (label, parameters, divergence, seconds by snapshot and activity).
        provenance: Versions of code and libraries, host and device.
        key: What the index is; empty where its position says it, and in markers of before keys.
    """

    stage: str
    index: int
    identity: str
    fence: int
    digests: dict[str, str]
    result: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    key: str = ""

    def is_of(self, stage: str, index: int, key: str) -> bool:
        """Whether it is the marker of an index that is at a position now."""
        return self.stage == stage and (self.key == key if self.key else self.index == index)

    def save(self, path: Path) -> None:
        """Write the marker durably, with a digest of what it says."""
        written = {name: value for name, value in asdict(self).items() if name != "key" or value}
        content = json.loads(json.dumps(written))  # as it will be read
        durable.write_json(path, content | {"sha256": _digest(content)})


def load(path: Path) -> Marker | None:
    """Read a marker; None when there is none.

    Raises:
        MarkerError: It is there but is not a marker.
    """
    try:
        content = documents.load(path, dict[str, Any])
        # The first markers that were written have no digest of their own.
        if content.pop("sha256", _digest(content)) != _digest(content):
            raise ValueError("its SHA-256 differs")
        documents.check(content, Marker)
        return Marker(**content)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise _unreadable(path, error) from error


def load_if_readable(path: Path) -> Marker | None:
    """Read a marker; None also for one that cannot be read: it proves nothing, and running or verifying says so."""
    try:
        return load(path)
    except MarkerError:
        return None


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the result in a marker lacks, or has of another type, into a `MarkerError`."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> MarkerError:
    return MarkerError(f"{path} is not a readable marker ({error}); delete it and run the stage again")


def done_indices(folder: Path, below: int | None = None) -> set[int]:
    """Return the indices, or those below a number, that have a marker, from one listing of the folder."""
    try:
        names = [entry.name for entry in folder.iterdir()]
    except FileNotFoundError:
        return set()
    found = indices(name[:-5] for name in names if name.endswith(".json"))
    return {index for index in found if below is None or index < below}


def indices(stems: Iterable[str]) -> set[int]:
    """Return the indices that files are named after; other files are passed over."""
    return {int(stem) for stem in stems if _INDEX.fullmatch(stem)}
