"""A simulated cluster on which the real `storage_schema.lease`, `durable` and `markers` run, one step at a time.

Everything that those modules ask of the system goes through `System`: files, the lock, clocks and processes are in
memory, and each call that others can see the effect of is a step, before which the schedule may let somebody else
go on, stall the process (also beyond `STALE_SECONDS`), kill it (the kernel drops its lock), reboot its node, or let
the file system's clock jump. Who goes on is drawn from one seed, so a schedule can be repeated:
`python tests/torture/lease_simulator.py SEED NUMBER` prints its steps.

Simulated: a rename that takes effect long after the content was written, and its delayed visibility on other nodes to
whoever reads without the lock. Not simulated, because it is not promised (decision 3: the file system supports
POSIX locks): a server that revokes the lock of a client it cannot reach, a rename that the server does after the
process that asked for it has died, and NFS without close-to-open, where a reader under the lock sees an old file.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
from simulated_system import Seat, System
from simulated_world import BrokenRuleError, Crew, Killed, World

from storage_schema import documents, durable, lease, markers
from storage_schema.lease import STALE_SECONDS, Lease, LeaseLostError, LeaseTakenError

INDEX = 7
LIVES = 3  # processes that are started one after another in a seat
PATIENCE = 4


def rescue(world: World) -> None:
    """When all is quiet, and time has passed, a new process must be able to finish the index."""
    seat = world.seats[0]
    world.rate = world.stalls = world.jumps = world.switches = 0.0
    world.now += 100 * STALE_SECONDS
    world.seats = [Seat(seat.baton, world.new_process(0), wakes=world.now)]
    world.seat = world.seats[0]
    for _ in range(10):  # it sometimes stops politely
        execution(world)
        if done(world):
            return
    raise BrokenRuleError("nobody can finish the index any more")


def lives(world: World) -> None:
    """Processes of one seat: each that is killed is started again, until none is left."""
    seat = world.seat
    for _ in range(LIVES):
        try:
            execution(world)
            seat.process.alive = world.random.random() < 0.5  # it ends, or goes on with another index
            return
        except Killed:
            if world.violation:
                raise
            seat.process, seat.blocked = world.new_process(seat.process.node), False
            seat.wakes = world.now + world.random.choice([1.0, STALE_SECONDS])


def execution(world: World) -> None:
    """What `pipeline.execute` does with an index, around the real lease."""
    for _ in range(PATIENCE):
        lease.held(world.lease)
        if done(world):
            return
        try:
            marker = markers.load(world.marker)
            last_fence = 0 if marker is None else marker.fence
            held = Lease.acquire(world.lease, world.lock_file, INDEX, last_fence=last_fence)
        except LeaseTakenError:
            world.seen["stepped aside"] += 1
            world.sleep(world.random.uniform(1, 90))
            continue
        world.process.lease = held
        try:
            return work(world, held)
        except LeaseLostError:
            world.seen["refused"] += 1
            return None


def work(world: World, held: Lease) -> None:
    wanted = world.wanted
    if not done(world):
        for part in range(world.random.randint(1, 3)):
            world.sleep(world.random.uniform(0, 40))
            held.renew()
            with held.guard(), world.writing():
                durable.write(world.shard, f"{held.owner.token} {part}".encode())
            if world.random.random() < 0.1:
                return held.release(finished=False)
        marker = markers.Marker(stage="s", index=INDEX, identity=wanted, fence=held.owner.fence, digests={})
        with held.guard(), world.writing():
            marker.save(world.marker)
    return held.release(finished=True)


def done(world: World) -> bool:
    marker = markers.load(world.marker)
    return marker is not None and marker.identity == world.wanted


@contextmanager
def simulated() -> Iterator[Crew]:
    """Let the modules run on the simulated system."""
    crew = Crew()
    system = System(crew)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("os", "fcntl", "time", "uuid", "socket"):
                patch.setattr(lease, name, system)
            patch.setattr(lease, "_boot", system.boot)
            patch.setattr(lease, "_started", system.started)
            patch.setattr(durable, "os", system)
            patch.setattr(durable, "uuid", system)
            patch.setattr(documents, "read_bytes", lambda path: path.read_bytes())
            yield crew
    finally:
        crew.stop()


def run_schedule(crew: Crew, seed: int, number: int, **options: Any) -> World:
    """Run one schedule; what it found is in the world."""
    world = World(random=Random(seed << 32 | number), crew=crew, **options)
    crew.run(world, lives)
    if world.violation is None:
        try:
            rescue(world)
        except Exception as error:  # noqa: BLE001  as in a seat
            world.violation = error
    return world


def first_violation(crew: Crew, seed: int, count: int, **options: Any) -> tuple[int | None, Counter[str]]:
    """Run schedules until one breaks a rule; returns its number, or None, and what happened in all of them."""
    seen: Counter[str] = Counter()
    for each in range(count):
        world = run_schedule(crew, seed, each, **options)
        seen += world.seen
        if world.violation is not None:
            return each, seen
    return None, seen


def story(crew: Crew, seed: int, number: int, **options: Any) -> str:
    """Run a schedule again and return its steps, and what was wrong at the end."""
    world = run_schedule(crew, seed, number, trace=[], **options)
    assert world.trace is not None
    return "\n".join([f"seed {seed}, schedule {number}", *world.trace, repr(world.violation)])


if __name__ == "__main__":
    with simulated() as bearers:
        print(story(bearers, int(sys.argv[1]), int(sys.argv[2])))
