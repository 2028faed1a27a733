"""Stages as jobs of a cluster: what is missing and not queued yet is submitted, in an order that Slurm keeps."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from pipeline import config, gather
from pipeline.array_spec import format_array
from pipeline.chain import LinkTask, link_name
from pipeline.execute import IndexTask
from pipeline.forecast import Forecast, forecast
from pipeline.queue_view import Place, QueueView
from pipeline.run import missing_indices, progress_bar, summary
from pipeline.sections import SLURM
from pipeline.status import stage_status, with_queue
from slurm import controller
from slurm.errors import SlurmError
from slurm.ledger import Ledger, Submission
from slurm.resources import Resources, parse_options, profile
from slurm.submit import Job, Submitter, clear_abandoned, cut
from stages.experiment import Experiment
from stages.search_spaces import own_code
from stages.search_spaces.chosen import check_space
from stages.search_spaces.config import ArchitecturesConfig
from stages.stage import Stage
from storage_schema.errors import UserError

SHORT_SECONDS = 30.0
"""A task's start costs a tenth of it; indices that take less are put together, on their own up to `SHORT_TASKS`."""
SHORT_TASKS = 8

CLUSTERS: Final = ("auto", "inline", "local", "slurm")


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """How to submit.

    Attributes:
        profile: Name of a built-in one; None: what the settings say, else `cpu`.
        sbatch: `name=value` each, before everything else.
        pack: Indices a task; None: one, more where they are short or the cluster's limits demand it.
        max_parallel: Tasks that run at a time.
        max_failures: Failed tasks after which an array is given up.
    """

    profile: str | None = None
    sbatch: tuple[str, ...] = ()
    pack: int | None = None
    max_parallel: int | None = None
    max_failures: int | None = None
    allow_device_change: bool = False


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """What a command has done.

    Attributes:
        new: Submitted now.
        already: By stage, the indices that were queued before.
        inline: Stages that had nothing left but gathering, which was done at once.
    """

    new: list[Submission]
    already: dict[str, list[int]]
    inline: list[str]


def resolve_resources(experiment: Experiment, options: ClusterOptions) -> Resources:
    """Put the resources together: profile, user's settings, experiment's, then the command line's.

    Raises:
        SlurmError: An unknown profile or option.
    """
    user, own = _user_settings(), _experiment_settings(experiment)
    name = options.profile or own.pop("profile", None) or user.pop("profile", None) or "cpu"
    found = profile(str(name))
    for settings, origin in ((user, str(user_file())), (own, f"[slurm] of {experiment.layout.config}")):
        settings.pop("profile", None)
        found = found.with_options(settings, origin)
    return found.with_options(parse_options(list(options.sbatch), "--sbatch"), "--sbatch")


def user_file() -> Path:
    """Return the file of the user's own settings."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "nap2-pipeline" / "slurm.toml"


def submit(
    experiment: Experiment, stages: Sequence[Stage], wanted: Sequence[int] | None, options: ClusterOptions
) -> Submitted:
    """Submit what is missing of the stages, each after the one before, and return at once.

    A stage whose jobs have failed leaves the later ones pending; this then takes the pending ones back and submits
    what is left anew.

    Raises:
        SlurmError: No controller, or it refuses.
    """
    controller.require()
    check_space(experiment)
    _check_folder(experiment)
    ledger = Ledger(experiment.layout.submissions)
    with ledger.locked():
        clear_abandoned(ledger)
        chain = Chain(experiment, options)
        for stage, following in zip(stages, [*stages[1:], None], strict=True):
            chain.add(stage, following, wanted)
    return Submitted(new=chain.new, already=chain.already, inline=chain.inline)


class Chain:
    """Stages submitted one after another.

    Attributes:
        after: Jobs that the next stage waits for.
        changed: Whether anything was submitted, so that later stages wait for the wrong jobs.
    """

    def __init__(self, experiment: Experiment, options: ClusterOptions) -> None:
        self._experiment, self._options = experiment, options
        self._root = str(experiment.layout.root.resolve())
        self._submitter = Submitter(
            experiment.layout.submissions.resolve(),
            resolve_resources(experiment, options),
            _label(experiment),
            max_parallel=options.max_parallel,
            max_failures=options.max_failures,
            own=own_code.modules(experiment.settings(ArchitecturesConfig).space),
        )
        self._limits, self._view = controller.limits(), QueueView.of(experiment)
        self.after: list[str] = []
        self.changed = False
        self.new: list[Submission] = []
        self.already: dict[str, list[int]] = {}
        self.inline: list[str] = []

    def add(self, stage: Stage, following: Stage | None, wanted: Sequence[int] | None) -> None:
        """Submit what a stage needs, and the step after it."""
        self._withdraw(stage.name, hopeless=not self.changed)
        if self.after and self.changed:
            indices: list[int] = list(range(stage.num_tasks(self._experiment)))
        else:
            if not self.after:
                gather.prepare(self._experiment, stage)
            indices = missing_indices(self._experiment, stage, wanted)
        queued = self._view.queued(stage.name)
        todo = [index for index in indices if index not in queued]
        if len(todo) < len(indices):
            self.already[stage.name] = sorted(set(indices) & set(queued))
        if todo:
            stage.admit(self._experiment)
        arrays, _ = self._cut(stage, todo)
        jobs = [self._submit(self._array(stage, tasks)) for tasks in arrays]
        jobs += sorted({task.job for task in queued.values()})
        if jobs:
            self._link(stage, following.name if following else None, jobs)
        elif not self.after:
            gather.finalise(self._experiment, stage)
            self.inline.append(stage.name)

    def preview(self, stage: Stage, wanted: Sequence[int] | None) -> dict[str, Any] | None:
        """Return what would be submitted of a stage now; None for nothing."""
        indices, queued = missing_indices(self._experiment, stage, wanted), self._view.queued(stage.name)
        todo = [index for index in indices if index not in queued]
        if not todo:
            return None
        arrays, expected = self._cut(stage, todo)
        return {
            "stage": stage.name,
            "array": format_array(todo),
            "arrays": len(arrays),
            "tasks": sum(map(len, arrays)),
            "indices_a_task": max(len(group) for tasks in arrays for group in tasks),
            "already_queued": format_array(set(indices) & set(queued)),
            "device_hours": round(expected.seconds / 3600, 3),
            "files": expected.files,
            "megabytes": round(expected.bytes / 1e6, 1),
            "measured": expected.measured,
            "script": self._submitter.script(self._array(stage, arrays[0])),
        }

    def _cut(self, stage: Stage, todo: list[int]) -> tuple[list[list[list[int]]], Forecast]:
        """Return arrays of tasks of indices, and what they will take."""
        expected = forecast(self._experiment, stage, todo)
        pack = self._options.pack or short_work(expected.seconds, len(todo))
        return cut(todo, self._limits, pack), expected

    def _array(self, stage: Stage, tasks: list[list[int]]) -> Job:
        keys = [{index: stage.key(self._experiment, index) for index in group} for group in tasks]
        work = IndexTask(self._root, stage.name, self._options.allow_device_change, patient=True)
        return Job(
            tasks=[replace(work, keys=group) for group in keys],
            stage=stage.name,
            indices=tasks,
            keys=[list(group.values()) for group in keys],
            after=tuple(self.after),
        )

    def _link(self, done: Stage, following: str | None, jobs: list[str]) -> None:
        """Submit the step after a stage; one that is queued already, and waits for all these jobs, stays."""
        name, afterany = link_name(done.name, following), following is None or not done.required
        for each in self._view.submissions:
            task = self._view.tasks.get((each.job, 0))
            if each.stage == name and task is not None and not task.hopeless and set(jobs) <= set(each.after):
                self.after = [each.job]
                return
        self._withdraw(name)
        work = LinkTask(self._root, done.name, following)
        job = Job(tasks=[work], stage=name, indices=[[0]], after=tuple(jobs), afterany=afterany)
        self.after = [self._submit(job)]

    def _submit(self, job: Job) -> str:
        submission = self._submitter.submit(job)
        self.new.append(submission)
        self.changed = True
        return submission.job

    def _withdraw(self, stage: str, *, hopeless: bool = False) -> None:
        """Take back what has not begun of a stage's jobs, or only what waits for something that will not happen."""
        ours = {each.job for each in self._view.submissions if each.stage == stage}
        taken = [
            key
            for key, task in self._view.tasks.items()
            if key[0] in ours and task.state == "PENDING" and (task.hopeless or not hopeless)
        ]
        controller.cancel(sorted({job for job, _ in taken}), pending_only=True)
        for key in taken:
            del self._view.tasks[key]


def short_work(seconds: float, indices: int) -> int | None:
    """Return how many indices a task should have at least, where one is too short to be worth a start of Python.

    Args:
        seconds: That all of them take.
        indices: How many they are.
    """
    if not indices:
        return None
    share, each = math.ceil(indices / SHORT_TASKS), max(seconds / indices, 0.001)
    pack = min(share, math.ceil(SHORT_SECONDS / each))
    return pack if pack > 1 else None


def dry_run(
    experiment: Experiment, stages: Sequence[Stage], wanted: Sequence[int] | None, options: ClusterOptions
) -> dict[str, Any]:
    """Return what `submit` would hand in for the first stage with something to do: script, tasks, packing, cost."""
    chain = Chain(experiment, options)
    return next(filter(None, (chain.preview(stage, wanted) for stage in stages)), {"tasks": 0})


def cancel(experiment: Experiment, stages: Sequence[Stage], wanted: Sequence[int] | None) -> dict[str, str]:
    """Cancel tasks in the queue; returns their indices by stage.

    Raises:
        SlurmError: No controller.
    """
    controller.require()
    view, names = QueueView.of(experiment), [stage.name for stage in stages]
    chosen = None if wanted is None else set(wanted)
    live = view.live(names)
    targets: list[str] = []
    for each in view.submissions:
        numbers = [number for job, number in live if job == each.job]
        if chosen is None:
            targets += [each.job] if numbers else []
        elif each.stage in names:
            hit = [number for number in numbers if chosen & set(view.indices_of(each, number))]
            targets += [Place(each, number).target for number in hit]
    told = {name: [i for i in view.queued(name) if chosen is None or i in chosen] for name in names}
    controller.cancel(targets)
    return {name: format_array(indices) for name, indices in told.items() if indices}


def follow(experiment: Experiment, stages: Sequence[Stage], seconds: float = 5.0) -> int:
    """Wait until nothing of the stages is queued; returns 0 if all of them are done, else 1."""
    console, names = Console(stderr=True, highlight=False), [stage.name for stage in stages]
    told = ""
    with progress_bar(console) as bar:
        bars = {each.name: bar.add_task(each.name) for each in stages}
        while True:
            view = QueueView.of(experiment)
            found = [with_queue(stage_status(experiment, each), view.queued(each.name)) for each in stages]
            for status in found:
                bar.update(bars[status.stage], completed=len(status.indices["done"]), total=status.total)
            text = view.silent or "; ".join(summary(status) for status in found)
            if text != told and not console.is_terminal:
                console.print(text, markup=False, soft_wrap=True)
                told = text
            alive = [task for task in view.live(names).values() if not task.hopeless]
            if not alive and not view.silent:
                return 0 if all(len(status.indices["done"]) == status.total for status in found) else 1
            time.sleep(seconds)


def _label(experiment: Experiment) -> str:
    """A name that a shell, a path and squeue take as it stands."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", experiment.layout.root.resolve().name)[:40].lstrip("-.")
    return name or "experiment"


def _check_folder(experiment: Experiment) -> None:
    folder = experiment.layout.submissions
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder} cannot be written; change its permissions or move the experiment")


def _experiment_settings(experiment: Experiment) -> dict[str, Any]:
    path = experiment.layout.config
    return dict(config.read_tree(path).get(SLURM, {})) if path.is_file() else {}


def _user_settings() -> dict[str, Any]:
    path = user_file()
    try:
        return config.read_tree(path)
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise SlurmError(f"{error} or move it away") from error


def where_to_run(cluster: str) -> str:
    """Return what a `--cluster` value stands for: `auto` becomes `slurm` where a controller answers.

    Raises:
        UserError: The value is unknown.
    """
    if cluster not in CLUSTERS:
        raise UserError(f"unknown cluster {cluster!r}; use inline, local, slurm or auto")
    inside = "SLURM_JOB_ID" in os.environ  # a job works on what it was given
    return "slurm" if cluster == "auto" and not inside and controller.answers() else cluster
