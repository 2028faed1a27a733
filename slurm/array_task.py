"""What one task of an array does: its indices one after another, stopping, requeueing and giving up as told."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit

from slurm import controller
from slurm.errors import SlurmError
from slurm.preemption import EXIT_STOPPED, StopFlag
from slurm.requeue import leave, mend_submitit, requeue_unless_decided, restarts, this_task
from slurm.snapshot import check_running
from slurm.task import EXIT_FAILED, Task


@dataclass(frozen=True, kw_only=True)
class ArrayTask:
    """Picklable: what to run is named, and all state is on disk.

    Attributes:
        task: The work.
        indices: Which pieces of it.
        folder: Of the submission, where tasks leave word of a failure.
        code: Digest of the code that it was submitted with.
        max_failures: Failed tasks after which the array is given up; None: never.
        own: Modules of the user's that belong to the code, see `slurm.snapshot.take`.
    """

    task: Task
    indices: tuple[int, ...]
    folder: str
    code: str
    max_failures: int | None = None
    own: tuple[str, ...] = ()

    def __call__(self) -> int:
        """Run the indices; ends the process with another exit code than 0 unless all are done."""
        mend_submitit()
        try:
            check_running(self.code, self.own)
        except SlurmError as error:
            _say(str(error))
            leave(EXIT_FAILED)
        if self._given_up():
            _say(f"{self.max_failures} tasks of this array have failed; not begun (--max-failures)")
            leave(EXIT_FAILED)
        code = run_indices(self.task, self.indices)
        if code not in (0, EXIT_STOPPED):
            self._failed()
        if code:
            leave(code)
        return 0

    def checkpoint(self, *_args: Any, **_kwargs: Any) -> submitit.helpers.DelayedSubmission:
        """For a warning that comes before the work has begun: the same again."""
        return submitit.helpers.DelayedSubmission(self)

    def _failures(self) -> Path:
        return Path(self.folder) / "failures"

    def _given_up(self) -> bool:
        return self.max_failures is not None and len(_listed(self._failures())) >= self.max_failures

    def _failed(self) -> None:
        task = this_task() or str(self.indices[0])
        self._failures().mkdir(exist_ok=True)
        (self._failures() / task).touch()
        if self._given_up():
            _say(
                f"{self.max_failures} tasks of this array have failed; the rest is cancelled (--max-failures)"
            )
            try:
                controller.cancel([task.partition("_")[0]], pending_only=True)
            except SlurmError as error:
                _say(str(error))


def run_indices(task: Task, indices: Sequence[int]) -> int:
    """Run indices one after another; returns an exit code, after asking for another run if a signal stopped it."""
    flag = StopFlag()
    flag.__enter__()  # never left: until the process ends no signal is to meet another handler
    _say(f"indices {', '.join(map(str, indices))} on {_node()}, restarts {restarts()}")
    worst = 0
    for index in indices:
        code = EXIT_STOPPED if flag() else task(index)
        if code == EXIT_STOPPED:
            _say(f"stopped by {flag.signal_name or 'request'}: {requeue_unless_decided()}")
            return code
        worst = worst or code
    return worst


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  names alone
    except FileNotFoundError:
        return []


def _node() -> str:
    return os.environ.get("SLURMD_NODENAME", socket.gethostname())


def _say(text: str) -> None:
    print(f"{this_task() or 'no job'}: {text}", file=sys.stderr, flush=True)
