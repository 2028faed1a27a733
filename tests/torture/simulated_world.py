"""A simulated cluster: whose turn it is, what goes wrong meanwhile, and the rules that hold all the same."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from simulated_system import BOOTS, HOSTS, File, Path, Process, Seat

from storage_schema.lease import STALE_SECONDS

SEATS = 3
VISIBLE_SECONDS = 60.0  # NFS: longest time for which attributes are remembered by default


class Killed(BaseException):
    """Ends a simulated process at once: no handler of the program may stop it."""


class BrokenRuleError(AssertionError):
    """Something that must not happen under any schedule."""


@dataclass(eq=False)
class World:
    """One index, one lock, some nodes; and the rules, checked at every step."""

    random: Random
    crew: Crew
    trace: list[str] | None = None
    now: float = 1e6
    jump: float = 0.0
    wanted: str = "settings 0"
    files: dict[str, File] = field(default_factory=dict)
    holder: Process | None = None
    earliest: float = 0.0  # the file system's clock at its earliest since the lock was taken
    latest: float = 0.0
    drawn: int = 0
    number: bytes = b""  # in the lock file
    seats: list[Seat] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)  # tokens in the order of taking
    given: int = 0  # the last fence
    fence: int = 0  # of the last accepted write
    inside: Process | None = None
    seen: Counter[str] = field(default_factory=Counter)
    violation: BaseException | None = None

    def __post_init__(self) -> None:
        draw = self.random
        self.folder = Path(self, "folder")
        self.lease, self.marker, self.shard, self.lock_file = (
            Path(self, name) for name in ("lease", "marker", "shard", "lock")
        )
        self.boots = [draw.choice([boot, boot, ""]) for boot in BOOTS]
        self.started = self.reboots = 0
        for baton in self.crew.batons:
            self.seats.append(Seat(baton, self.new_process(draw.randrange(len(HOSTS)))))
        self.seat = self.seats[0]
        self.rate = draw.choice([0.0, 0.01, 0.03])  # of deaths
        self.stalls = draw.choice([0.01, 0.04])
        self.jumps = draw.choice([0.0, 0.01])
        self.switches = draw.choice([0.2, 0.6])

    @property
    def clock(self) -> float:
        """Of the file system."""
        return self.now + self.jump

    @property
    def process(self) -> Process:
        """The one that is running."""
        return self.seat.process

    def new_process(self, node: int) -> Process:
        """Start a process; its id may be that of one that has died."""
        self.started += 1
        used = {s.process.pid for s in self.seats if s.process.alive and s.process.node == node}
        return Process(node, min(set(range(SEATS + 1)) - used), f"{self.started}")

    # What processes do

    def step(self, name: str, what: str = "") -> None:
        """Let happen what may happen before the running process does something."""
        seat, draw = self.seat, self.random.random
        if not seat.process.alive or self.violation:
            raise Killed
        self.now += draw()
        chance = draw()
        if chance < self.rate:
            self.die(seat.process)
        elif (chance := chance - self.rate) < self.stalls:
            self.stall(seat)
        elif chance < self.stalls + self.jumps:
            self.disturb()
        if not seat.process.alive:
            raise Killed
        if seat.wakes > self.now or draw() < self.switches:
            self.switch()
        if self.trace is not None:
            self.tell(f"{name} {what}")

    def die(self, process: Process) -> None:
        self.seen["deaths"] += 1
        process.alive = False
        self.unlock(process)
        if self.inside is process:
            self.inside = None
        if self.trace is not None:
            self.tell(f"process {process.pid} of node {process.node} dies")

    def stall(self, seat: Seat) -> None:
        self.seen["stalls"] += 1
        seconds = self.random.uniform(0.1, 3) * STALE_SECONDS
        seat.wakes = self.now + seconds
        seat.process.suspended += self.random.choice([0.0, seconds])
        if self.trace is not None:
            self.tell(f"stalls for {seconds:.0f} s")

    def disturb(self) -> None:
        kind = self.random.randrange(3)
        if kind == 0:
            before = self.clock
            self.jump += self.random.uniform(-3, 3) * STALE_SECONDS
            self.earliest = min(self.earliest, before, self.clock)
            self.latest = max(self.latest, before, self.clock)
        elif kind == 1:
            self.wanted = f"settings {self.random.randrange(3)}"
        else:
            node = self.random.randrange(len(HOSTS))
            for seat in self.seats:
                if seat.process.node == node and seat.process.alive:
                    self.die(seat.process)
            self.reboots += 1
            self.boots[node] = self.boots[node] and f"boot{len(HOSTS) + self.reboots} pid:[1]"
        if self.trace is not None:
            self.tell(f"event: clock {self.jump:+.0f} s, {self.wanted}, boots {self.boots}")

    def sleep(self, seconds: float) -> None:
        self.seat.wakes = self.now + seconds
        self.step("slept")

    def tell(self, text: str) -> None:
        process = self.process
        assert self.trace is not None
        self.trace.append(f"{self.now:12.2f}  {process.node}:{process.pid}/{process.started}  {text}")

    # Whose turn it is

    def switch(self) -> None:
        """Let the schedule choose who goes on; returns when it is the caller again."""
        me, self.seat = self.seat, self.next_seat()
        if self.seat is not me:
            self.seat.baton.release()
            me.baton.acquire()
        if not me.process.alive or self.violation:
            raise Killed

    def next_seat(self) -> Seat:
        left = [seat for seat in self.seats if not seat.finished]
        if self.violation:
            return left[0]
        ready = [s for s in left if s.wakes <= self.now and not (s.blocked and s.process.alive)]
        if not ready:
            asleep = [s.wakes for s in left if not (s.blocked and s.process.alive)]
            if not asleep:
                self.violation = BrokenRuleError("everybody waits for a lock that nobody will open")
                return left[0]
            self.now = min(asleep)
            ready = [s for s in left if s.wakes <= self.now and not (s.blocked and s.process.alive)]
        return ready[0] if len(ready) == 1 else self.random.choice(ready)

    def lock(self) -> None:
        self.step("lock")
        while self.holder not in (None, self.process):
            self.seat.blocked = True
            self.switch()
        self.holder, self.earliest, self.latest = self.process, self.clock, self.clock

    def unlock(self, process: Process) -> None:
        if self.holder is process:
            self.holder = None
            for seat in self.seats:
                seat.blocked = False

    # Files

    def create(self, name: str) -> File:
        file = self.files[name] = File(b"", self.clock, self.process.node)
        return file

    def look(self, name: str) -> File:
        """What the running process sees; without the lock, perhaps what was there before."""
        file = self.files.get(name)
        if (
            file is not None
            and file.visible > self.now
            and file.node != self.process.node
            and self.holder is not self.process
            and self.random.random() < 0.5
        ):
            self.seen["old sights"] += 1
            file = file.before
        if file is None:
            raise FileNotFoundError(name)
        return file

    def rename(self, source: str, target: str) -> None:
        file, before = self.files.pop(source), self.files.get(target)
        if target == "lease":
            self.check_lease_write(json.loads(file.content), before)
        else:
            self.check_write(target)
        if before is not None:
            before.before = None  # no longer chain than one
        file.visible, file.before = self.now + VISIBLE_SECONDS, before
        self.files[target] = file

    def unlink(self, name: str, missing_ok: bool) -> None:
        if name == "lease":
            self.check_own("removes the lease")
        if self.files.pop(name, None) is None and not missing_ok:
            raise FileNotFoundError(name)

    # The rules

    def check_lease_write(self, new: dict[str, Any], before: File | None) -> None:
        if new["token"] == "":
            self.check_own("releases the lease")
            return
        if before is not None:
            self.check_takeover(json.loads(before.content), before)
        if new["fence"] <= self.given:
            raise BrokenRuleError(f"fence {new['fence']} was given out after {self.given}")
        self.given = new["fence"]
        self.taken.append(new["token"])

    def check_takeover(self, old: dict[str, Any], file: File) -> None:
        alive = any(
            seat.process.alive and old["token"] and seat.process.started == old["started"]
            for seat in self.seats
        )
        if not alive:
            return
        self.seen["takeovers from the living"] += 1
        age = max(self.latest, self.clock) - file.modified
        ahead = file.modified - min(self.earliest, self.clock)
        if max(age, ahead) < STALE_SECONDS:
            raise BrokenRuleError("a living owner with a fresh lease was replaced")

    def check_own(self, does: str) -> None:
        current, mine = lease_token(self.files.get("lease")), self.process.lease
        if mine is None or current != mine.owner.token:
            raise BrokenRuleError(f"an execution {does} that another one has")

    def check_write(self, target: str) -> None:
        mine = self.process.lease
        assert mine is not None
        if self.inside is not self.process:
            raise BrokenRuleError("two processes write at once")
        order = self.taken.index(mine.owner.token) + 1
        if order < len(self.taken):
            raise BrokenRuleError(
                f"{target} was written by execution {order} after {len(self.taken)} took over"
            )
        if mine.owner.fence < self.fence:
            raise BrokenRuleError(f"{target} was written under fence {mine.owner.fence} after {self.fence}")
        self.fence = mine.owner.fence
        self.seen["writes"] += 1

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The body of a guard."""
        if self.inside is not None:
            raise BrokenRuleError("two processes are in the guard at once")
        self.inside = self.process
        yield
        self.inside = None


def lease_token(file: File | None) -> str | None:
    return None if file is None else json.loads(file.content)["token"]


class Crew:
    """Threads that pass one baton on: only its bearer runs. They are kept from schedule to schedule."""

    def __init__(self) -> None:
        self.batons = [threading.Lock() for _ in range(SEATS)]
        self._main, self._stopped = threading.Lock(), False
        self.world: World | None = None
        for lock in (*self.batons, self._main):
            lock.acquire()
        self._threads = [threading.Thread(target=self._work, args=(i,)) for i in range(SEATS)]
        for thread in self._threads:
            thread.start()
        self._job: Callable[[World], None] = lambda world: None

    def run(self, world: World, job: Callable[[World], None]) -> None:
        """Run the job in every seat of a world to its end."""
        self.world, self._job = world, job
        world.seat = world.next_seat()
        world.seat.baton.release()
        self._main.acquire()

    def stop(self) -> None:
        self._stopped = True
        for baton, thread in zip(self.batons, self._threads, strict=True):
            baton.release()
            thread.join()

    def _work(self, number: int) -> None:
        while True:
            self.batons[number].acquire()
            if self._stopped:
                return
            world = self.world
            assert world is not None
            try:
                self._job(world)
            except Killed:
                pass
            except BaseException as error:  # noqa: BLE001  whatever the program raises is a finding
                world.violation = world.violation or error
            world.seats[number].finished = True
            if all(seat.finished for seat in world.seats):
                self._main.release()
            else:
                world.seat = world.next_seat()
                world.seat.baton.release()
