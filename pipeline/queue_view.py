"""The queue's side of an experiment: which index is in which task, where, and how a task ended."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Self

from pipeline.chain import stage_of
from pipeline.registry import STAGES
from slurm import controller
from slurm.controller import MOVED, NEVER, Account, QueuedTask
from slurm.errors import SlurmError
from slurm.ledger import Ledger, Submission
from stages.experiment import Experiment

LOG_BYTES = 64_000
MEMORY_LINES = 10
_NOISE = re.compile(r"submitit (INFO|WARNING)|srun: |slurmstepd[-\w]*: ")
_MEMORY = re.compile(r"[Ee]xceeded (job|step) memory limit|oom[-_]kill|Out Of Memory")


@dataclass(frozen=True)
class Place:
    """One index in a submission."""

    submission: Submission
    task: int

    @property
    def target(self) -> str:
        """What Slurm calls the task."""
        many = len(self.submission.indices) > 1
        return f"{self.submission.job}_{self.task}" if many else self.submission.job

    def log(self, folder: Path) -> Path:
        """Return its log; a task that was started again goes on in the same file."""
        return folder / self.submission.name / f"{self.target}_0_log.out"


class QueueView:
    """The submissions of an experiment and what is left of them in the queue.

    Args:
        folder: Of the submissions.
        submissions: Oldest first.
        tasks: In the queue.
        silent: Why the queue is not known; empty when it is.
        positions: Gives the indices that a stage's keys have now; without it they are where they were.
    """

    def __init__(
        self,
        folder: Path,
        submissions: Sequence[Submission],
        tasks: Iterable[QueuedTask],
        silent: str = "",
        positions: Callable[[str], Mapping[str, int]] | None = None,
    ) -> None:
        self.folder, self.submissions, self.silent = folder, submissions, silent
        self.tasks = {(task.job, task.task): task for task in tasks}
        self._positions = None if positions is None else cache(positions)
        self._mark_moved()
        self._mark_stuck()

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """Read the ledger and, where anything was submitted, ask the queue once."""
        folder = experiment.layout.submissions
        submissions = [each for each in Ledger(folder).submissions() if each.job]
        positions = partial(_positions, experiment)
        try:
            return cls(folder, submissions, controller.queue(each.job for each in submissions), "", positions)
        except SlurmError as error:
            return cls(folder, submissions, (), str(error), positions)

    def indices_of(self, submission: Submission, task: int) -> list[int]:
        """Return which indices the work of a task is now; what it was may be an index no longer."""
        if not submission.keys or self._positions is None:
            return submission.indices[task]
        now = self._positions(submission.stage)
        return [now[key] for key in submission.keys[task] if key in now]

    def _mark_moved(self) -> None:
        """Say of every waiting task with an index that has become something else that it waits in vain."""
        for each in self.submissions:
            for number, group in enumerate(each.indices):
                task = self.tasks.get((each.job, number))
                if task is not None and task.state == "PENDING" and self.indices_of(each, number) != group:
                    self.tasks[each.job, number] = replace(task, reason=MOVED)

    def _mark_stuck(self) -> None:
        """Say of every job behind one that waits in vain that it does so too; Slurm says it of the first alone."""
        hopeless = {job for (job, _), task in self.tasks.items() if task.hopeless}
        for each in self.submissions:  # oldest first: a job is submitted after those that it waits for
            if hopeless & set(each.after):
                hopeless.add(each.job)
        for key, task in self.tasks.items():
            if key[0] in hopeless and task.state == "PENDING":
                self.tasks[key] = replace(task, reason=NEVER)

    def live(self, stages: Collection[str]) -> dict[tuple[str, int], QueuedTask]:
        """Return what is in the queue of stages and of the steps after them, by job and number of the task."""
        jobs = {each.job for each in self.submissions if stage_of(each.stage) in stages}
        return {key: task for key, task in self.tasks.items() if key[0] in jobs}

    def queued(self, stage: str) -> dict[int, QueuedTask]:
        """Return the task in the queue of each index that has one, of a stage."""
        return {
            index: task
            for each in self.submissions
            if each.stage == stage
            for number in range(len(each.indices))
            if (task := self.tasks.get((each.job, number))) is not None
            for index in self.indices_of(each, number)
        }

    def last_places(self, stage: str) -> dict[int, Place]:
        """Return where each index of a stage was submitted last."""
        return {
            index: Place(each, number)
            for each in self.submissions
            if each.stage == stage
            for number in range(len(each.indices))
            for index in self.indices_of(each, number)
        }

    @cached_property
    def accounts(self) -> dict[tuple[str, int], Account]:
        """What accounting knows, by one call of sacct; empty without accounting."""
        jobs = [each.job for each in self.submissions]
        return {(found.job, found.task): found for found in controller.accounting(jobs)}

    def account(self, place: Place) -> Account | None:
        """Return how the last run of a task ended, if accounting knows."""
        return self.accounts.get((place.submission.job, place.task))

    def log_tail(self, place: Place, lines: int = 1) -> list[str]:
        """Return the last lines of a task's log that say something; all for 0."""
        said = [line for line in self._log(place) if not _NOISE.match(line)]
        return said[-lines:]

    def out_of_memory(self, place: Place) -> bool:
        """Whether Slurm's step daemon says so in the log; in accounting it depends on how a site limits memory."""
        return any(_MEMORY.search(line) for line in self._log(place)[-MEMORY_LINES:])

    def _log(self, place: Place) -> list[str]:
        try:
            with place.log(self.folder).open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - LOG_BYTES))
                text = file.read().decode(errors="replace")
        except OSError:
            return []
        return [line.rstrip() for line in text.splitlines() if line.strip()]


def _positions(experiment: Experiment, name: str) -> Mapping[str, int]:
    """Return the index of each key of a stage; a name that a ledger should not have is of no stage."""
    if name not in STAGES:
        return {}
    stage = STAGES[name]
    return {stage.key(experiment, index): index for index in range(stage.num_tasks(experiment))}
