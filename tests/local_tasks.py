"""Tasks for the tests of `slurm.local`, in a module of their own so that spawned workers can import them."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from slurm.local import THREAD_VARIABLES
from slurm.preemption import EXIT_STOPPED, StopFlag


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Claims an index by making its file exclusively, as a lease would, and then works on it."""

    folder: Path
    seconds: float = 0.0
    kill_at: int = -1
    raise_at: int = -1
    fail_at: int = -1

    def __call__(self, index: int, /) -> int:
        """Write who did the index; step aside where the file exists."""
        try:
            with (self.folder / f"{index}.claim").open("x") as file:
                file.write(f"{os.getpid()}")
        except FileExistsError:
            return 0
        if index == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if index == self.raise_at:
            raise ZeroDivisionError("a broken index")
        if index == self.fail_at:
            return 3
        return self._work(index)

    def _work(self, index: int) -> int:
        end = time.monotonic() + self.seconds
        with StopFlag() as flag:
            while time.monotonic() < end:
                if flag():
                    (self.folder / f"{index}.stopped").write_text(flag.signal_name or "")
                    return EXIT_STOPPED
                time.sleep(0.005)
        (self.folder / f"{index}.done").write_text(",".join(os.environ.get(v, "") for v in THREAD_VARIABLES))
        return 0


@dataclass(frozen=True, kw_only=True)
class Deaf:
    """Work that polls no flag of its own."""

    folder: Path
    seconds: float

    def __call__(self, index: int, /) -> int:
        """Sleep whatever happens."""
        (self.folder / f"{index}.started").touch()
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            time.sleep(0.01)
        (self.folder / f"{index}.done").touch()
        return 0
