"""Leases between real processes on a real file system: overtaken while they are alive, and killed while they write."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from wrong_leases import WRONG

from storage_schema.lease import STALE_SECONDS, Lease, LeaseLostError, LeaseTakenError

Often = Callable[[int, int], int]
Figure = Callable[[str], None]


class Arena:
    """One index that real processes fight for; whoever has it counts in a journal, slowly enough to be disturbed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.lease, self.lock = folder / "leases" / "3.json", folder / "lock"
        self.journal, self.refusals = folder / "journal", folder / "refusals"
        self.codes: list[int | None] = []
        for file in (self.lock, self.journal, self.refusals):
            file.touch()

    def entries(self) -> list[tuple[int, int, str]]:
        """Count, number and token of every write that was accepted."""
        lines = [line.split() for line in self.journal.read_text().splitlines()]
        return [(int(count), int(fence), token) for count, fence, token in lines]

    def take(self) -> Lease:
        return Lease.acquire(self.lease, self.lock, 3)

    def write(self, held: Lease, draw: random.Random) -> None:
        with held.guard():
            count = len(self.entries())
            time.sleep(draw.uniform(0, 0.002))
            if draw.random() < 0.01:
                os.kill(os.getpid(), signal.SIGKILL)
            append(self.journal, f"{count + 1} {held.owner.fence} {held.owner.token}\n")

    def estrange(self) -> None:
        """Make the lease look like one of a machine that has been silent for too long; its owner lives."""
        with self.lock.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX, 1, 3)
            with suppress(FileNotFoundError):
                content = json.loads(self.lease.read_bytes()) | {"boot": "another"}
                self.lease.write_text(json.dumps(content))
                os.utime(self.lease, (time.time() - STALE_SECONDS - 1,) * 2)

    def faults(self) -> list[str]:
        found = self.entries()
        counts, fences = [count for count, _, _ in found], [fence for _, fence, _ in found]
        faults = [] if counts == list(range(1, len(found) + 1)) else ["two processes wrote at once"]
        faults += [] if fences == sorted(fences) else ["an overtaken process wrote"]
        tokens = {(fence, token) for _, fence, token in found}
        return faults + ([] if len(tokens) == len(set(fences)) else ["one number was given out twice"])


def append(path: Path, line: str) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(line.encode())


def contend(arena: Arena, seed: int, seconds: float) -> None:
    draw, end = random.Random(seed), time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            held = arena.take()
            for _ in range(draw.randint(1, 20)):
                arena.write(held, draw)
                time.sleep(draw.uniform(0, 0.002))
            held.release(finished=draw.random() < 0.5)
        except LeaseTakenError:
            time.sleep(draw.uniform(0, 0.005))
        except LeaseLostError as lost:
            append(arena.refusals, f"{lost}\n")
        if draw.random() < 0.2:
            arena.estrange()


def race(folder: Path, seed: int, seconds: float = 0.4) -> Arena:
    arena, context = Arena(folder), multiprocessing.get_context("fork")
    runners = [context.Process(target=contend, args=(arena, seed + i, seconds)) for i in range(4)]
    for runner in runners:
        runner.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
        arena.estrange()
    for runner in runners:
        runner.join(30)
    arena.codes = [runner.exitcode for runner in runners]
    for runner in runners:  # a wrong lease may leave one waiting
        runner.kill()
        runner.join()
    return arena


def test_of_racing_processes_one_writes_at_a_time(
    tmp_path: Path, often: Often, torture_seed: int, figure: Figure
) -> None:
    count, writes, takers, refused = often(10, 200), 0, 0, 0
    for number in range(count):
        arena = race(tmp_path / str(number), torture_seed + 10 * number)
        assert arena.faults() == [], f"race {number}, seed {torture_seed}"
        assert set(arena.codes) <= {0, -signal.SIGKILL}
        writes += len(arena.entries())
        takers += len({token for _, _, token in arena.entries()})
        refused += len(arena.refusals.read_text().splitlines())
    assert refused > count
    figure(
        f"lease: {count} races of 4 processes, 0 double writers; "
        f"{writes:,} writes of {takers:,} executions, {refused:,} refused"
    )


@pytest.mark.parametrize("wrong", ["guard without the check", "no lock"])
def test_negative_control_races_find_a_wrong_lease(
    wrong: str, tmp_path: Path, torture_seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    WRONG[wrong](monkeypatch)
    assert any(race(tmp_path / str(n), torture_seed + 10 * n).faults() for n in range(20))
