"""Running stages: which indices are missing, where they run, and what is shown meanwhile."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipeline import gather
from pipeline.array_spec import format_array
from pipeline.execute import EXIT_DONE, IndexTask, execute, needs, unmet
from pipeline.identity import DoneCounter, Identities
from pipeline.status import StageStatus, stage_status
from slurm.local import describe_deaths, run_local
from slurm.preemption import EXIT_STOPPED, StopFlag
from slurm.task import EXIT_FAILED
from stages.experiment import Experiment
from stages.search_spaces.chosen import check_space
from stages.stage import Stage
from stages.training.config import TrainingConfig

PLAIN_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run.

    Attributes:
        cluster: `inline` is this process, `local` one process a worker.
        workers: Processes; 0 shares the machine's cores out.
        throttle: At most so many processes, whatever `workers` says; None: no limit.
    """

    cluster: str = "auto"
    workers: int = 0
    throttle: int | None = None
    allow_device_change: bool = False


def missing_indices(experiment: Experiment, stage: Stage, wanted: Sequence[int] | None) -> list[int]:
    """Return the wanted indices that are not done, in order."""
    return _missing(stage_status(experiment, stage), wanted)


def _missing(status: StageStatus, wanted: Sequence[int] | None) -> list[int]:
    done = set(status.indices["done"])
    indices = range(status.total) if wanted is None else wanted
    return [index for index in indices if index not in done]


def run_stage(
    experiment: Experiment,
    stage: Stage,
    wanted: Sequence[int] | None,
    options: RunOptions,
    console: Console,
) -> int:
    """Run what is missing of the wanted indices of a stage, and gather its results; returns an exit code."""
    with StopFlag() as flag:  # a signal before, between or after the indices is a polite stop as well
        gather.prepare(experiment, stage)
        status = stage_status(experiment, stage)
        indices = _missing(status, wanted)
        stale = set(indices) & set(status.indices["stale"])
        if stale:
            console.print(
                f"{stage.name}: {format_array(stale)} was done with other settings or inputs; computed again",
                markup=False,
            )
        code = EXIT_DONE
        for name, (waiting, inputs) in _waiting(experiment, stage, indices).items():
            console.print(f"{stage.name} {format_array(waiting)}: {needs(name, inputs)}", markup=False)
            indices, code = [index for index in indices if index not in waiting], EXIT_FAILED
        workers = worker_count(experiment, options, len(indices))
        if indices:
            check_space(experiment)
            stage.admit(experiment)
            with _progress(experiment, stage, indices, console) as poll:
                if workers == 0:
                    ended = _inline(experiment, stage, indices, options, poll, flag)
                else:
                    ended = _local(experiment, stage, indices, workers, options, poll, console)
            code = ended or code
        gather.finalise(experiment, stage)
        return EXIT_STOPPED if flag() else code


def _waiting(
    experiment: Experiment, stage: Stage, indices: Sequence[int]
) -> dict[str, tuple[set[int], set[int]]]:
    """Return, by the stage that is to run first, the indices that wait for it, and for which of its indices."""
    identities, found = Identities(experiment), dict[str, tuple[set[int], set[int]]]()
    for index in indices:
        for name, inputs in unmet(identities, stage, index).items():
            waiting, of = found.setdefault(name, (set(), set()))
            waiting.add(index)
            of |= inputs
    return found


def worker_count(experiment: Experiment, options: RunOptions, indices: int) -> int:
    """Return the number of worker processes; 0 for inline."""
    if options.cluster == "inline":
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = options.workers or max(1, cores // experiment.settings(TrainingConfig).threads)
    wanted = min(wanted, options.throttle or wanted)
    if options.cluster == "auto" and not options.workers and min(wanted, indices) < 2:
        return 0
    return max(1, min(wanted, indices))


def _inline(
    experiment: Experiment,
    stage: Stage,
    indices: Sequence[int],
    options: RunOptions,
    poll: Callable[[], None],
    flag: StopFlag,
) -> int:
    worst = EXIT_DONE
    for index in indices:
        if flag():
            return EXIT_STOPPED
        code = execute(
            experiment,
            stage,
            index,
            allow_device_change=options.allow_device_change,
            poll=poll,
        )
        poll()
        if code == EXIT_STOPPED:
            return code
        worst = worst or code
    return worst


def _local(
    experiment: Experiment,
    stage: Stage,
    indices: Sequence[int],
    workers: int,
    options: RunOptions,
    poll: Callable[[], None],
    console: Console,
) -> int:
    # Workers share the indices by stepping aside from each other's: nothing to tell.
    task = IndexTask(
        str(experiment.layout.root),
        stage.name,
        options.allow_device_change,
        announce_taken=False,
        run=secrets.token_hex(8),
    )
    codes = run_local(
        task, indices, workers, threads=experiment.settings(TrainingConfig).threads, on_poll=poll
    )
    for line in describe_deaths(codes):
        console.print(line, markup=False)
    if EXIT_STOPPED in codes.values():
        return EXIT_STOPPED
    return EXIT_DONE if not any(codes.values()) else EXIT_FAILED


@contextmanager
def _progress(
    experiment: Experiment, stage: Stage, indices: Sequence[int], console: Console
) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, a plain line now and then elsewhere; done indices are counted from the markers."""
    count = DoneCounter(experiment, stage, indices)
    if not console.is_terminal:
        yield _plain(stage, count, len(indices), console)
        return
    with progress_bar(console) as bar:
        task = bar.add_task(stage.name, total=len(indices))
        last = 0.0

        def poll() -> None:
            nonlocal last
            if time.monotonic() - last > 0.5:
                last = time.monotonic()
                bar.update(task, completed=count())

        yield poll
        bar.update(task, completed=count())


def progress_bar(console: Console) -> Progress:
    """Return a bar, to be filled; nothing is shown where there is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)


def _plain(stage: Stage, count: DoneCounter, total: int, console: Console) -> Callable[[], None]:
    started = last = time.monotonic()

    def poll() -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < PLAIN_SECONDS:
            return
        last = now
        done = count()
        left = f", about {(total - done) * (now - started) / done / 60:.0f} min left" if done else ""
        console.print(
            f"{stage.name}: {done} of {total} done after {(now - started) / 60:.1f} min{left}", markup=False
        )

    return poll


def summary(status: StageStatus) -> str:
    """Return one line: how many indices are in which state."""
    counts = [f"{len(found)} {state}" for state, found in status.indices.items() if found]
    return f"{status.stage}: {', '.join(counts) or 'nothing to do'}"
