"""Leases: at most one execution may write an index, and an overtaken one is refused, whatever its clock says.

A lease is a small file with the execution's token and a fencing number that grows with each execution. Taking,
renewing and every guarded write happen while one byte of the stage's lock file is locked, at the lease's `place`. So
between the check that the lease is still ours and the write that depends on it, nobody can take it over; a write
after a takeover finds another token and is refused. The lock is only ever held for one such step, and the kernel
drops it with the process. The lock file also keeps the last number given out at each place, since a lease goes when
its index is finished. Leases that share a place wait for one another's steps and take their numbers from one counter:
each sees its own numbers grow, and its token is in a file of its own. Whether an owner of another machine is dead is
judged by the age of its last renewal, by the shared file system's clock alone; on the same machine by asking for the
process. A renewal that lies as far in the future counts as old: the clock was set back, and would keep the lease alive
until it is there again.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from storage_schema import documents, durable

RENEWAL_SECONDS = 15.0
STALE_SECONDS = 120.0
NUMBER_BYTES = 8
PLACES = 1 << 16
"""For leases that are named after a key; the lock file stays below half a MiB where a file system has no holes."""
SHARED = 1 << 40
"""The byte of a stage's lock file for what its indices share."""


def place(name: str) -> int:
    """Return the place within a stage's lock file of the lease of a name (`storage_schema.layout.file_name`).

    Positions in a plan have a place each. Other names may share one, which is safe (see above) and costs a wait.
    """
    position = name.isascii() and name.isdigit() and len(name) < 10
    return int(name) if position else zlib.crc32(name.encode()) % PLACES


class LeaseTakenError(RuntimeError):
    """Another execution is at work on this index."""


class LeaseLostError(RuntimeError):
    """Another execution took this index over; nothing more may be written by this one."""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """One execution: who it is and where."""

    fence: int
    token: str
    host: str
    boot: str
    pid: int
    started: str

    @classmethod
    def this_process(cls, fence: int) -> Owner:
        """Describe an execution of this process."""
        pid = os.getpid()
        return cls(
            fence=fence,
            token=uuid.uuid4().hex,
            host=os.environ.get("SLURMD_NODENAME", socket.gethostname()),
            boot=_boot(),
            pid=pid,
            started=_started(pid),
        )

    def gone(self) -> bool:
        """Whether the process has certainly ended; only known on the machine it ran on."""
        if self.token == "":
            return True  # released
        return self.boot == _boot() != "" and _started(self.pid) != self.started


class Lease:
    """The right to write one index, held by this execution.

    Args:
        path: The lease's file.
        lock: The stage's lock file.
        index: Its place there, of `place` or an index within the stage.
    """

    def __init__(self, path: Path, lock: Path, index: int, owner: Owner) -> None:
        self._path, self._lock, self._index = path, lock, index
        self.owner = owner
        self._renewed = time.monotonic()

    @classmethod
    def acquire(cls, path: Path, lock: Path, index: int, *, last_fence: int = 0) -> Lease:
        """Take the lease, from nobody or from an owner that is gone.

        Args:
            path: The lease's file.
            lock: The stage's lock file.
            index: Its place there.
            last_fence: Highest number known from elsewhere (a marker).

        Raises:
            LeaseTakenError: Its owner is alive.
        """
        durable.make_folder(path.parent)
        with _locked(lock, index) as handle:
            current = read(path)
            if current is not None and not current.gone() and abs(_age(path)) < STALE_SECONDS:
                raise LeaseTakenError(f"process {current.pid} on {current.host}")
            fence = max(last_fence, current.fence if current else 0, _number(handle, index)) + 1
            _keep_number(handle, index, fence)
            owner = Owner.this_process(fence)
            durable.write_json(path, asdict(owner))
        return cls(path, lock, index, owner)

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Hold the lock around one write, after checking that the lease is still ours.

        Raises:
            LeaseLostError: Another execution has it.
        """
        with _locked(self._lock, self._index):
            current = read(self._path)
            if current is None or current.token != self.owner.token:
                taker = "nobody" if current is None else f"process {current.pid} on {current.host}"
                raise LeaseLostError(f"it was taken over by {taker}; nothing more is written")
            yield

    def renew(self) -> None:
        """Say that the execution is alive; costs nothing unless it is time to say so again."""
        if time.monotonic() - self._renewed < RENEWAL_SECONDS:
            return
        with self.guard():
            os.utime(self._path)
        self._renewed = time.monotonic()

    def release(self, *, finished: bool) -> None:
        """Give the lease up; its number is kept for the next execution unless the index is finished."""
        with self.guard():
            if finished:
                self._path.unlink()
            else:
                nobody = asdict(self.owner) | {"token": ""}
                durable.write_json(self._path, nobody)


def read(path: Path) -> Owner | None:
    """Return the owner on file, or None; a torn or foreign file counts as none."""
    try:
        owner: Owner = documents.load(path, Owner)
        return owner
    except (FileNotFoundError, ValueError):
        return None


def held(path: Path) -> Owner | None:
    """Return the owner that is presumably alive, or None."""
    owner = read(path)
    if owner is None or owner.gone():
        return None
    try:
        return owner if abs(time.time() - path.stat().st_mtime) < STALE_SECONDS else None
    except FileNotFoundError:
        return None


def _age(path: Path) -> float:
    """Seconds since the last renewal, both times by the file system's clock."""
    probe = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}{durable.PARTIAL}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


@contextmanager
def _locked(lock: Path, index: int, count: int = 1) -> Iterator[int]:
    """Lock so many bytes from one on; 0: all of them."""
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX, count, index)
        yield handle
    finally:
        os.close(handle)  # drops the lock


@contextmanager
def exclusive(lock: Path, index: int = SHARED) -> Iterator[None]:
    """Hold the lock at a place, under which everything of one index is written, or what the indices share.

    Never twice at once in one process: closing the lock file drops all that the process holds of it.
    """
    durable.make_folder(lock.parent)
    with _locked(lock, index):
        yield


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Hold every lock of a stage at once: meanwhile no index is taken and nothing of any is written."""
    durable.make_folder(lock.parent)
    with _locked(lock, 0, count=0):
        yield


def _number(handle: int, index: int) -> int:
    """Return the last number that was given out at a place; 0 for none."""
    return int.from_bytes(os.pread(handle, NUMBER_BYTES, NUMBER_BYTES * index), "little")


def _keep_number(handle: int, index: int, number: int) -> None:
    os.pwrite(handle, number.to_bytes(NUMBER_BYTES, "little"), NUMBER_BYTES * index)
    os.fsync(handle)


def _boot() -> str:
    """Within what process ids can be compared: one boot, and one container of it; empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Start time of a process in clock ticks since boot; empty for a process that is not there or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
