"""Submission: indices cut into tasks and arrays that the cluster accepts, each submitted through submitit."""

from __future__ import annotations

import contextlib
import io
import math
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import submitit
from submitit.core.utils import FailedJobError

from slurm import controller, snapshot
from slurm.array_task import ArrayTask
from slurm.controller import Limits
from slurm.errors import SlurmError
from slurm.ledger import Ledger, Submission
from slurm.resources import Resources
from slurm.task import Task

KEPT_CODE: Final = "code"
_SIZES: Final = (
    "mem", "mem-per-cpu", "mem-per-gpu", "cpus-per-task", "gres", "gpus", "gpus-per-node", "gpus-per-task",
    "constraint", "nodelist", "exclude", "tmp",
)  # fmt: skip
_ABOUT: Final = {
    "feature": ("constraint", "prefer"),
    "partition": ("partition",),
    "node configuration": _SIZES,
    "memory": ("mem", "mem-per-cpu", "mem-per-gpu"),
    "generic resource": ("gres", "gpus", "gpus-per-node", "gpus-per-task"),
    "gres": ("gres", "gpus"),
    "account": ("account",),
    "qos": ("qos",),
    "time limit": ("time",),
    "reservation": ("reservation",),
    "node name": ("nodelist", "exclude"),
    "license": ("licenses",),
}
"""Words of Slurm's refusals, and the options that they are about."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job or array to submit.

    Attributes:
        tasks: The work on each group of indices.
        stage: For the ledger and for the job's name.
        indices: Those of each task.
        keys: What each of them is, for the ledger alone.
        after: Jobs that have to end well before.
        afterany: They only have to end.
    """

    tasks: Sequence[Task]
    stage: str
    indices: Sequence[Sequence[int]]
    keys: Sequence[Sequence[str]] = ()
    after: Sequence[str] = ()
    afterany: bool = False


def cut(indices: Sequence[int], limits: Limits, pack: int | None) -> list[list[list[int]]]:
    """Cut indices into arrays of tasks.

    Args:
        indices: Which.
        limits: What the controller accepts.
        pack: Indices a task; None: one, or as many as the limit of queued tasks demands.

    Returns:
        Arrays, each a list of tasks, each a list of indices.
    """
    if pack is None:
        pack = math.ceil(len(indices) / limits.jobs) if limits.jobs else 1
    pack = max(1, pack)
    tasks = [list(indices[start : start + pack]) for start in range(0, len(indices), pack)]
    return [tasks[start : start + limits.array] for start in range(0, len(tasks), limits.array)]


class Submitter:
    """Submits jobs of one experiment.

    Args:
        folder: Where submissions are kept; shared with the nodes.
        resources: Of every job.
        label: First part of the jobs' names.
        max_parallel: Tasks of an array that run at a time; None: no limit.
        max_failures: See `ArrayTask`.
        own: Modules of the user's that the work needs, see `slurm.snapshot.take`.
    """

    def __init__(
        self,
        folder: Path,
        resources: Resources,
        label: str,
        *,
        max_parallel: int | None = None,
        max_failures: int | None = None,
        own: tuple[str, ...] = (),
    ) -> None:
        if not str(folder).isprintable():
            # In the script it would end a comment, and what follows would be run.
            raise SlurmError(f"{str(folder)!r} has characters that cannot be printed; move the experiment")
        if "%" in str(folder):
            # Submitit and Slurm put numbers in the place of %j and its like, so logs would be somewhere else.
            raise SlurmError(
                f"{folder} has a '%', which Slurm replaces in the names of logs; move the experiment"
            )
        self.ledger = Ledger(folder)
        self._resources, self._label = resources, label
        self._max_parallel, self._max_failures, self._own = max_parallel, max_failures, own

    def submit(self, job: Job) -> Submission:
        """Submit one job; to be called while the ledger is locked.

        What cuts it off (a full disk, Ctrl-C) may come after Slurm has taken the job. The ledger then keeps its
        name, and `clear_abandoned` takes the job back.

        Raises:
            SlurmError: Slurm refuses it; its words are quoted.
        """
        name = f"{self._label}-{job.stage}-{uuid.uuid4().hex[:8]}"
        code = snapshot.take(self.ledger.folder / KEPT_CODE, self._own)
        submission = Submission(
            name=name,
            stage=job.stage,
            indices=[list(group) for group in job.indices],
            after=list(job.after),
            resources=dict(self._resources.options),
            code=code.name,
            submitted=time.time(),
            keys=[list(group) for group in job.keys],
        )
        self.ledger.write(submission)
        folder = self.ledger.folder / name
        try:
            submission = replace(submission, job=self._sbatch(job, folder, code))
        except SlurmError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self.ledger.write(submission)
        return submission

    def script(self, job: Job) -> str:
        """Return the sbatch script that `submit` would hand in."""
        executor = _executor(self.ledger.folder / "dry-run", self._resources.python)
        self._configure(executor, job, self.ledger.folder / KEPT_CODE / "DIGEST")
        if len(job.indices) > 1:
            executor.parameters["map_count"] = len(job.indices)
        text: str = executor._make_submission_file_text(executor._submitit_command_str, "dry-run")
        return text

    def _sbatch(self, job: Job, folder: Path, code: Path) -> str:
        executor = _executor(folder, self._resources.python)
        self._configure(executor, job, code)
        tasks = [
            ArrayTask(
                task=task,
                indices=tuple(group),
                folder=str(folder),
                code=code.name,
                max_failures=self._max_failures,
                own=self._own,
            )
            for task, group in zip(job.tasks, job.indices, strict=True)
        ]
        try:
            # submitit repeats what sbatch says there; the error has it all.
            with contextlib.redirect_stderr(io.StringIO()), executor.batch():
                jobs = [executor.submit(task) for task in tasks]
        except (FailedJobError, subprocess.CalledProcessError) as error:
            raise SlurmError(self._refusal(str(error))) from error
        return str(jobs[0].job_id).partition("_")[0]

    def _configure(self, executor: Any, job: Job, code: Path) -> None:
        options: dict[str, Any] = dict(self._resources.options)
        options["requeue"] = True
        if job.after:
            options["dependency"] = ":".join(("afterany" if job.afterany else "afterok", *job.after))
        parallel = self._max_parallel or len(job.indices)
        executor.update_parameters(
            job_name=executor.folder.name,
            array_parallelism=parallel,
            stderr_to_stdout=True,
            wckey=None,
            setup=snapshot.setup(code),
            time=max(1, math.ceil(self._resources.minutes or 60)),
            additional_parameters=options,
        )

    def _refusal(self, text: str) -> str:
        """Quote Slurm, and name the options that its words may be about and where they were said."""
        words = [line.partition("error: ")[2] for line in text.splitlines() if "error: " in line]
        said = "; ".join(words) or " ".join(text.split())
        asked = self._resources.options
        meant = [n for word, names in _ABOUT.items() if word in said.lower() for n in names if n in asked]
        named = [f"{n} = {asked[n]}, from {self._resources.origin[n]}" for n in dict.fromkeys(meant or asked)]
        return f"Slurm refuses: {said} ({'; '.join(named)})"


def clear_abandoned(ledger: Ledger) -> None:
    """Take back submissions that were cut off before their id was known; they are found in the queue by their names."""
    for submission in ledger.submissions():
        if not submission.job:
            controller.cancel(controller.job_named(submission.name))
            shutil.rmtree(ledger.folder / submission.name)


def _executor(folder: Path, python: str) -> Any:
    # A warning that comes while Python starts, before there is a handler, would kill the task, and nobody would start
    # it again; ignored, it is followed by SIGTERM, when there is one.
    command = f'sh -c \'trap "" USR2; exec "$@"\' sh {python or shlex.quote(sys.executable)}'
    try:
        return submitit.SlurmExecutor(folder, python=command)
    except RuntimeError as error:
        raise SlurmError("srun is not on the PATH: this is no Slurm cluster; use --cluster local") from error
