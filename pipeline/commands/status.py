"""`pipeline status`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.options import ExperimentOption, JsonOption, StageOption

if TYPE_CHECKING:
    from pipeline.queue_view import QueueView
    from pipeline.status import StageStatus
    from stages.experiment import Experiment
    from stages.stage import Stage

SHOWN = 10


def status(
    stage: StageOption = "all",
    experiment: ExperimentOption = Path(),
    missing: Annotated[
        bool, typer.Option("--missing", help="Print what is not done as an --array value.")
    ] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Print what failed as an --array value.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until all is done.")] = False,
    seconds: Annotated[float, typer.Option(min=1, help="Between two looks of --watch.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Show what is done, running, queued, partial, failed and missing, from the data and the queue."""
    from pipeline.array_spec import format_array
    from pipeline.asked import one_stage
    from pipeline.experiment import load
    from pipeline.explain import failed as failures
    from pipeline.registry import chosen
    from pipeline.status import stage_status

    opened = load(experiment)
    if missing or failed:
        one = one_stage(stage, "--missing" if missing else "--failed")
        indices = stage_status(opened, one).unfinished if missing else failures(opened, one)
        if indices:
            print(format_array(indices))
        return
    stages = chosen(stage)
    where = "" if experiment == Path() else f" --experiment {experiment}"
    if not watch:
        _status_once(opened, stages, where, as_json)
        return
    while _status_once(opened, stages, where, as_json):
        time.sleep(seconds)
        print()


def _status_once(opened: Experiment, stages: list[Stage], where: str, as_json: bool) -> bool:
    """Print the status; returns whether there is anything that is not done."""
    from pipeline.queue_view import QueueView
    from pipeline.status import stage_status, with_queue

    view = QueueView.of(opened)
    found = [with_queue(stage_status(opened, each), view.queued(each.name)) for each in stages]
    left = any(len(status.indices["done"]) < status.total for status in found)
    if as_json:
        print(json.dumps(_as_record(opened, stages, found, view)))
        return left
    for stage, status in zip(stages, found, strict=True):
        _print_stage(opened, stage, status, view, where)
    if view.silent:
        print(f"the queue is not known: {view.silent}")
    todo = [status.stage for status in found if status.unfinished]
    print(f"next: pipeline run --stage {todo[0]}{where}" if todo else "in work" if left else "all done")
    return left


def _print_stage(opened: Experiment, stage: Stage, status: StageStatus, view: QueueView, where: str) -> None:
    from pipeline.array_spec import format_array
    from pipeline.explain import explain_all, troubled
    from pipeline.run import summary

    print(summary(status))
    lost = troubled(status, view)
    for index, why in explain_all(opened, stage, status, view, lost[:SHOWN]).items():
        kind = f"{why.failure}: " if why.failure else ""
        print(f"  {index}: {kind}{why.sentence}" + (f" | {why.last_line}" if why.last_line else ""))
    queued = sorted(view.queued(stage.name).items())
    for index, task in [each for each in queued if each[1].state != "PENDING" or each[1].hopeless][:SHOWN]:
        again = f", restarts {task.restarts}" if task.restarts else ""
        at_work = f"{task.state.lower()} on {task.node} for {task.elapsed}{again}"
        print(f"  {index}: " + (f"waits in vain ({task.reason})" if task.hopeless else at_work))
    if lost:
        print(f"  again: pipeline retry --stage {stage.name} --array {format_array(lost)}{where}")


def _as_record(
    opened: Experiment, stages: list[Stage], found: list[StageStatus], view: QueueView
) -> dict[str, Any]:
    from dataclasses import asdict

    from pipeline.array_spec import format_array
    from pipeline.explain import explain_all, troubled

    reasons = {
        each.name: explain_all(opened, each, status, view, troubled(status, view))
        for each, status in zip(stages, found, strict=True)
    }
    return {
        "identity": opened.identity,
        "stages": {
            s.stage: {state: format_array(i) if i else "" for state, i in s.indices.items()} for s in found
        },
        "failures": {s.stage: s.failures for s in found},
        "queue": {s.stage: {i: asdict(task) for i, task in view.queued(s.stage).items()} for s in found},
        "reasons": {name: {i: asdict(why) for i, why in each.items()} for name, each in reasons.items()},
        "queue_unknown": view.silent,
    }
