"""What Slurm's own commands say: limits, queue, accounting; one call each, with a time limit and a clear error."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from slurm.errors import SlurmError

SECONDS: Final = 60
"""No command may take longer; a controller that is down is noticed by Slurm after its MessageTimeout."""

NEVER: Final = "DependencyNeverSatisfied"
MOVED: Final = "IndexMoved"
"""No word of Slurm's: whoever submitted a task says that it would not find what it was to do any more."""
_HOPELESS: Final = (NEVER, MOVED, "JobHeldUser", "JobHeldAdmin", "launch failed requeued held")
_QUEUE_FIELDS: Final = (
    "ArrayJobID", "ArrayTaskID", "State", "Reason", "NodeList", "StartTime", "TimeUsed", "RestartCnt",
)  # fmt: skip
_ACCOUNTING_FIELDS: Final = "JobID,State,ExitCode,NodeList,Elapsed,End"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the controller accepts.

    Attributes:
        array: Largest number of tasks of one array.
        jobs: Largest number of tasks that a user may have queued; None if unknown.
    """

    array: int
    jobs: int | None


@dataclass(frozen=True, kw_only=True)
class QueuedTask:
    """One task in the queue.

    Attributes:
        job: Id of the array, or of the job where it is none.
        task: Number within the array, 0 where it is none.
        state: Slurm's word, such as RUNNING.
        reason: Why it is pending, Slurm's word; None while it runs.
        node: Where it runs.
        started: Since when, ISO 8601 in the controller's local time.
        elapsed: How long it has run.
        restarts: How often it was started before.
    """

    job: str
    task: int
    state: str
    reason: str
    node: str
    started: str
    elapsed: str
    restarts: int

    @property
    def hopeless(self) -> bool:
        """Whether it waits for something that will not happen."""
        return self.reason in _HOPELESS


@dataclass(frozen=True, kw_only=True)
class Account:
    """What accounting knows of one task's last run."""

    job: str
    task: int
    state: str
    exit_code: str
    node: str
    elapsed: str
    end: str


def installed() -> bool:
    """Whether Slurm's commands are there."""
    return shutil.which("sbatch") is not None


def answers() -> bool:
    """Whether a controller answers."""
    if not installed():
        return False
    try:
        return "UP" in _call(["scontrol", "ping"])
    except SlurmError:
        return False


def require() -> None:
    """Check that a controller answers.

    Raises:
        SlurmError: No commands, or no answer.
    """
    if not installed():
        raise SlurmError("sbatch is not on the PATH: this is no Slurm cluster; use --cluster local")
    if not answers():
        raise SlurmError(
            "no Slurm controller answers (scontrol ping); nothing was submitted: try again later, or use "
            "--cluster local"
        )


def limits() -> Limits:
    """Ask the controller, and accounting where it is there, what may be submitted."""
    text = _call(["scontrol", "show", "config"])
    values = dict(re.findall(r"^(\w+)\s*=\s*(\S+)", text, re.MULTILINE))
    jobs = [int(values["MaxJobCount"])] if values.get("MaxJobCount", "").isdigit() else []
    if values.get("AccountingStorageType", "").endswith("slurmdbd"):
        jobs += _association_limits()
    return Limits(array=int(values.get("MaxArraySize", 1001)), jobs=min(jobs, default=None))


def queue(jobs: Iterable[str]) -> list[QueuedTask]:
    """Return the tasks of jobs that are queued or running, by one call of squeue; unknown jobs are left out."""
    wanted = set(jobs)
    if not wanted:
        return []
    line = ",".join(f"{name}:|" for name in _QUEUE_FIELDS)
    text = _call(["squeue", "-h", "-r", "-u", getpass.getuser(), "-O", line])
    found = []
    for row in text.splitlines():
        job, task, state, reason, node, started, elapsed, restarts = row.split("|")[: len(_QUEUE_FIELDS)]
        if job in wanted:
            found.append(
                QueuedTask(
                    job=job,
                    task=int(task) if task.isdigit() else 0,
                    state=state,
                    reason=reason,
                    node=node,
                    started=started,
                    elapsed=elapsed,
                    restarts=int(restarts or 0),
                )
            )
    return found


def accounting(jobs: Iterable[str]) -> list[Account]:
    """Return what accounting knows of jobs, by one call of sacct; nothing where there is no accounting."""
    wanted = sorted(set(jobs))
    if not wanted:
        return []
    command = ["sacct", "-X", "-n", "-P", "-j", ",".join(wanted), "-o", _ACCOUNTING_FIELDS]
    try:
        text = _call(command)
    except SlurmError:
        return []  # the data's own truth and the queue's are enough
    found = []
    for row in text.splitlines():
        name, state, exit_code, node, elapsed, end = row.split("|")
        job, _, task = name.partition("_")
        if "[" in task:
            continue  # tasks that have not begun
        found.append(
            Account(
                job=job,
                task=int(task or 0),
                state=state,
                exit_code=exit_code,
                node=node,
                elapsed=elapsed,
                end=end,
            )
        )
    return found


def nodes(partition: str) -> list[str]:
    """Return the nodes of a partition (empty: the default one) that take jobs now."""
    text = _call(["sinfo", "-h", "-N", "-o", "%N|%P|%t", *(["-p", partition] if partition else [])])
    rows = [line.split("|") for line in text.splitlines()]
    up = ("idle", "mix", "alloc")
    return sorted({n for n, where, state in rows if state in up and (partition or where.endswith("*"))})


def cancel(targets: Sequence[str], *, pending_only: bool = False) -> None:
    """Cancel jobs or tasks (`12`, `12_3`)."""
    if targets:
        _call(["scancel", *(["--state=PENDING"] if pending_only else []), *targets])


def state(target: str) -> str:
    """Return the state of one job or task; empty when the queue does not know it."""
    try:
        return _call(["squeue", "-h", "-j", target, "-o", "%T"]).strip()
    except SlurmError:
        return ""


def job_named(name: str) -> list[str]:
    """Return the ids of the user's queued jobs of a name."""
    text = _call(["squeue", "-h", "-u", getpass.getuser(), "-n", name, "-o", "%F"])
    return sorted(set(text.split()))


def _association_limits() -> list[int]:
    """The user's MaxSubmitJobs, of associations and their QOS."""
    user = getpass.getuser()
    found: list[int] = []
    for command in (
        ["sacctmgr", "-nP", "show", "assoc", "where", f"user={user}", "format=MaxSubmitJobs"],
        ["sacctmgr", "-nP", "show", "qos", "format=MaxSubmitJobsPerUser"],
    ):
        try:
            found += [int(word) for word in _call(command).split() if word.isdigit()]
        except SlurmError:
            continue  # no accounting at the moment: the controller refuses what is too much
    return found


def _call(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env={**os.environ, "LC_ALL": "C", "SLURM_TIME_FORMAT": "standard"},
        )
    except FileNotFoundError as error:
        raise SlurmError(f"{command[0]} is not on the PATH: this is no Slurm cluster") from error
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{command[0]} gave no answer within {SECONDS} s; try again later") from error
    if done.returncode:
        raise SlurmError(f"{command[0]}: {_words(done.stderr or done.stdout)}")
    return done.stdout


def _words(text: str) -> str:
    lines = [line.partition(": error: ")[2] or line for line in text.strip().splitlines()]
    return "; ".join(lines) or "no reason given"
