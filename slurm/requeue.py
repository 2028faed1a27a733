"""Going on after a stop: who requeues a task, and the faults of submitit's signal handler that are worked around here.

submitit installs handlers that act wherever the code happens to be. A task of ours swaps them for a flag
(`slurm.preemption.StopFlag`), saves at the next mini-batch and then calls `requeue_unless_decided`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import submitit
from submitit.slurm.slurm import SlurmJobEnvironment

from slurm import controller

REQUEUE_SECONDS: Final = 30


def this_task() -> str | None:
    """Return what Slurm calls the task this process runs in, such as `12_3`; None outside of a job."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID")


def restarts() -> int:
    """Return how often Slurm has started this task before."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def requeue_unless_decided() -> str:
    """Ask for another run of this task if Slurm has not decided already; returns what is going on, for the log.

    A task that is warned (USR2 ahead of the time limit or of a preemption with grace) is RUNNING still: nobody but
    itself will start it again once it exits. In every other case (scancel, scontrol requeue, preemption without
    grace, a node going down) its state is another one already, and asking would revive what somebody cancelled.
    """
    task = this_task()
    if task is None:
        return "not in a Slurm job"
    state = controller.state(task)
    if state != "RUNNING":
        return f"Slurm has decided already ({state or 'no longer queued'})"
    return "requeued" if _requeue(task) else "could not be requeued: the same pipeline command goes on"


def _requeue(task: str) -> bool:
    # A preemption's SIGTERM goes to all of the step, this child included, which would die of it half-way; an
    # ignored signal stays ignored in a child.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        done = subprocess.run(
            ["scontrol", "requeue", task],
            timeout=REQUEUE_SECONDS,
            capture_output=True,
            text=True,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    # "Job is pending execution": Slurm was faster.
    return done.returncode == 0 or "pending" in done.stderr


def mend_submitit() -> None:
    """Work around submitit in this process, which runs a task; to be called before the work begins.

    - A warning that comes before our flag is set meets submitit's own handler, whose `scontrol requeue` dies of
      the SIGTERM that follows where there is no grace: it then reports an error though Slurm has requeued the task.
    - Killed while it saves a checkpoint, it leaves a temporary file that makes the next save fail.
    - It counts a warning near the time limit as a failure, the third of which is final. Here going on in the next
      slice is what is wanted, so the count never falls.
    """

    def _requeue_instead(_environment: SlurmJobEnvironment, countdown: int) -> None:  # noqa: ARG001
        requeue_unless_decided()

    SlurmJobEnvironment._requeue = _requeue_instead  # type: ignore[method-assign,assignment]
    submitit.core.job_environment.SignalHandler.has_timed_out = lambda _handler: False  # type: ignore[method-assign,assignment]
    folder = os.environ.get("SUBMITIT_FOLDER")
    task = this_task()
    if folder and task:
        for left in Path(folder).glob(f"{task}_*.save_tmp"):
            left.unlink(missing_ok=True)


def leave(code: int) -> None:
    """End the process with an exit code that Slurm sees; submitit would report a returned number as success."""
    for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGCONT):
        signal.signal(number, signal.SIG_IGN)  # what comes now has nothing left to stop
    sys.stdout.flush()
    sys.stderr.flush()
    raise SystemExit(code)
