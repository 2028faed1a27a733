"""What a disk may hold after a power cut: everything that was synced, and any part of what was not.

The model is that of POSIX, harsher than most file systems: the bytes of a file are there for sure after an fsync of
the file, a name in a folder after an fsync of the folder. Of everything else any part may be there, in any order.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from interposed import Operation

FEW = 4
"""So many operations that are not synced are kept in every combination."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One operation by identities: of names in a folder, or of the bytes of a file.

    Attributes:
        node: The file or folder that it changes, and whose fsync makes it durable.
        names: What names come to mean; None: they are gone.
        offset: Where bytes go; negative: the file is emptied.
        synced_at: Number of the operation that makes it durable; endless where there is none.
        is_folder: Whether the names mean a folder.
    """

    node: int
    names: tuple[tuple[str, int | None], ...] = ()
    offset: int = 0
    content: bytes = b""
    synced_at: float = float("inf")
    is_folder: bool = False


@dataclass
class Disk:
    """Files and folders by identity; 0 is the experiment.

    Attributes:
        original: Where the bytes of files are that were there before.
    """

    folders: dict[int, dict[str, int]] = field(default_factory=lambda: {0: {}})
    files: dict[int, bytearray] = field(default_factory=dict)
    original: dict[int, Path] = field(default_factory=dict)

    @classmethod
    def of(cls, root: Path) -> Disk:
        """Take over a folder as it is, all of it durable."""
        disk, count, nodes = cls(), itertools.count(1), {root: 0}
        for folder, folders, files in os.walk(root):
            entries = disk.folders[nodes[Path(folder)]]
            for name in folders:
                node = entries[name] = nodes[Path(folder, name)] = next(count)
                disk.folders[node] = {}
            for name in files:
                node = entries[name] = next(count)
                disk.original[node] = Path(folder, name)
        return disk

    def copy(self) -> Disk:
        """Return a disk that can be changed alone."""
        folders = {node: dict(names) for node, names in self.folders.items()}
        return Disk(folders, {node: bytearray(b) for node, b in self.files.items()}, self.original)

    def find(self, path: str) -> int | None:
        """Return what a path means."""
        node: int | None = 0
        for part in PurePosixPath(path).parts:
            node = None if node is None else self.folders.get(node, {}).get(part)
        return node

    def apply(self, change: Change) -> None:
        """Make a change; in a folder that is not there it is lost."""
        if change.names:
            entries = self.folders.setdefault(change.node, {})
            for name, node in change.names:
                if node is None:
                    entries.pop(name, None)
                else:
                    entries[name] = node
                    if change.is_folder:
                        self.folders.setdefault(node, {})
        elif change.offset < 0:
            self.files[change.node] = bytearray()
        else:
            content = self.files.setdefault(change.node, bytearray())
            end = change.offset + len(change.content)
            content.extend(bytes(max(0, end - len(content))))
            content[change.offset : end] = change.content

    def write(self, root: Path, node: int = 0) -> None:
        """Write the disk into an empty folder; what was there before is linked, not copied."""
        for name, child in self.folders.get(node, {}).items():
            place = root / name
            if child in self.files:
                place.write_bytes(self.files[child])
            elif child in self.original:
                place.hardlink_to(self.original[child])
            elif child in self.folders:
                place.mkdir()
                self.write(place, child)
            else:
                place.touch()  # a name that was kept, of a file without bytes


def changes(before: Disk, operations: Sequence[Operation]) -> list[Change | None]:
    """Return each operation by identities, with the moment from which it is durable; None for a sync."""
    disk, found = before.copy(), list[Change | None]()
    nodes = itertools.count(1 + max([0, *disk.folders, *disk.original]))
    waiting: dict[int, list[int]] = {}
    for number, operation in enumerate(operations):
        if operation.name == "fsync":
            found.append(None)
            node = disk.find("" if operation.path == "." else operation.path)
            for other in waiting.pop(node, []) if node is not None else []:
                kept = found[other]
                assert kept is not None
                found[other] = replace(kept, synced_at=number)
            continue
        change = _change(disk, operation, nodes)
        found.append(change)
        if change is not None:
            disk.apply(change)
            waiting.setdefault(change.node, []).append(number)
    return found


def _change(disk: Disk, operation: Operation, nodes: Iterator[int]) -> Change | None:
    path = PurePosixPath(operation.path)
    if operation.name in ("write", "truncate"):
        node = disk.find(operation.path)
        if node is None:
            return None  # of a file that was removed while it was open
        offset = -1 if operation.name == "truncate" else operation.offset
        return Change(node=node, offset=offset, content=operation.content)
    folder = disk.find(str(path.parent))
    if folder is None or operation.name == "utime":
        return None
    if operation.name == "create":
        node = next(nodes)
        disk.files[node] = bytearray()
        return Change(node=folder, names=((path.name, node),))
    if operation.name == "mkdir":
        node = next(nodes)
        return Change(node=folder, names=((path.name, node),), is_folder=True)
    if operation.name == "rename":
        target = PurePosixPath(operation.target)
        assert target.parent == path.parent, f"{operation}: only renames within a folder are modelled"
        node = disk.find(operation.path)
        names = ((path.name, None), (target.name, node))
        return Change(node=folder, names=names, is_folder=node in disk.folders)
    assert operation.name in ("unlink", "rmdir"), operation
    return Change(node=folder, names=((path.name, None),))


def states(
    before: Disk, found: Sequence[Change | None], moment: int, number: int, draw: random.Random
) -> Iterator[Disk]:
    """Return disks as a power cut may leave them after so many operations."""
    past = [change for change in found[:moment] if change is not None]
    loose = [change for change in past if change.synced_at >= moment]
    for kept in _subsets(loose, number, draw):
        disk = before.copy()
        for change in past:
            if change.synced_at < moment or id(change) in kept:
                disk.apply(change)
        yield disk


def _subsets(loose: Sequence[Change], number: int, draw: random.Random) -> Iterable[set[int]]:
    everything = [id(change) for change in loose]
    if 2 ** len(everything) <= max(number, 2):
        return [
            set(kept)
            for size in range(len(everything) + 1)
            for kept in itertools.combinations(everything, size)
        ]
    drawn = [{each for each in everything if draw.random() < 0.5} for _ in range(number - 2)]
    return [set(), set(everything), *drawn]
