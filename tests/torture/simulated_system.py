"""What stands for the system under a simulated schedule: files, clocks and processes, in memory.

Every call with an effect that others can see asks the world first who goes on, see `simulated_world`.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from simulated_world import Crew, World

    from storage_schema.lease import Lease

HOSTS = ("node0", "node1", "node0")  # of each node; the last is a container, with process ids of its own
BOOTS = ("boot0 pid:[1]", "boot1 pid:[1]", "boot0 pid:[2]")


@dataclass(slots=True)
class File:
    content: bytes
    modified: float  # by the file system's clock
    node: int  # where it was written; the others see it later
    visible: float = 0.0  # true time from which every node sees it
    before: File | None = None


@dataclass(eq=False, slots=True)
class Process:
    node: int
    pid: int
    started: str
    alive: bool = True
    suspended: float = 0.0  # seconds that its monotonic clock has missed
    lease: Lease | None = None


@dataclass(eq=False, slots=True)
class Seat:
    """A thread in which processes run one after another."""

    baton: Any
    process: Process
    wakes: float = 0.0
    blocked: bool = False
    finished: bool = False


class Path:
    """As much of `pathlib.Path` as the modules use."""

    __slots__ = ("name", "world")

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name

    @property
    def parent(self) -> Path:
        return self.world.folder

    def is_dir(self) -> bool:
        return True

    def with_name(self, name: str) -> Path:
        return Path(self.world, name)

    def open(self, mode: str) -> OpenFile:
        assert mode == "xb"
        self.world.step("create", self.name)
        return OpenFile(self.world.create(self.name))

    def touch(self) -> None:
        self.world.step("touch", self.name)
        self.world.create(self.name)

    def read_bytes(self) -> bytes:
        self.world.step("read", self.name)
        return self.world.look(self.name).content

    def stat(self) -> SimpleNamespace:
        self.world.step("stat", self.name)
        return SimpleNamespace(st_mtime=self.world.look(self.name).modified)

    def replace(self, target: Path) -> None:
        self.world.step("rename", target.name)
        self.world.rename(self.name, target.name)

    def unlink(self, missing_ok: bool = False) -> None:
        self.world.step("unlink", self.name)
        self.world.unlink(self.name, missing_ok)


class OpenFile:
    def __init__(self, file: File) -> None:
        self._file = file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, content: bytes) -> None:
        self._file.content = content

    def flush(self) -> None:
        pass

    def fileno(self) -> Self:
        return self


class System:
    """Stands for the modules os, fcntl, time, uuid and socket; an open file's number is the file itself."""

    O_RDWR = O_CREAT = O_RDONLY = LOCK_EX = 0

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self.environ: dict[str, str] = {}

    @property
    def _world(self) -> World:
        assert self._crew.world is not None
        return self._crew.world

    def open(self, path: Path, *_: int) -> Path:
        return path

    def lockf(self, *_: object) -> None:
        self._world.lock()

    def close(self, handle: Path) -> None:
        if handle.name == "lock":
            self._world.step("unlock")
            self._world.unlock(self._world.process)

    def fsync(self, handle: object) -> None:
        pass

    def pread(self, *_: object) -> bytes:
        self._world.step("read", "number")
        return self._world.number

    def pwrite(self, _: Path, content: bytes, *__: int) -> None:
        self._world.step("write", "number")
        self._world.number = content

    def utime(self, path: Path) -> None:
        self._world.step("renew")
        self._world.look(path.name).modified = self._world.clock

    def getpid(self) -> int:
        return self._world.process.pid

    def gethostname(self) -> str:
        return HOSTS[self._world.process.node]

    def monotonic(self) -> float:
        return self._world.now - self._world.process.suspended

    def time(self) -> float:
        return self._world.now + 1000.0 * self._world.process.node  # no node's clock is right

    def uuid4(self) -> SimpleNamespace:
        self._world.drawn += 1
        return SimpleNamespace(hex=f"{self._world.drawn:08x}")

    def boot(self) -> str:
        return self._world.boots[self._world.process.node]

    def started(self, pid: int) -> str:
        here = self._world.process.node
        found = [s.process for s in self._world.seats if (s.process.node, s.process.pid) == (here, pid)]
        return next((process.started for process in found if process.alive), "")
