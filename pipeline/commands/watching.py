"""How far an experiment is, and why; and what a cluster is like before anything is queued."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.options import ExperimentOption, JsonOption, StageOption, wanted_indices
from storage_schema.errors import UserError

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
    from pipeline.experiment import load
    from pipeline.explain import failed as failures
    from pipeline.registry import chosen
    from pipeline.status import stage_status

    opened, stages = load(experiment), chosen(stage)
    if missing or failed:
        if len(stages) > 1:
            raise UserError(
                "--missing and --failed need one --stage: an index is something else in each of them"
            )
        indices = stage_status(opened, stages[0]).unfinished if missing else failures(opened, stages[0])
        if indices:
            print(format_array(indices))
        return
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


def explain(
    index: Annotated[int, typer.Argument(help="Index within the stage.")],
    stage: StageOption = "collect",
    experiment: ExperimentOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Say why an index is not running or not done, and what would help."""
    from dataclasses import asdict

    from pipeline.explain import explain as explanation

    opened, one = _one(experiment, stage, index)
    why = explanation(opened, one, index)
    if as_json:
        print(json.dumps({"stage": one.name, "index": index, **asdict(why)}))
        return
    print(f"{one.name} {index} ({one.describe(opened, index)}): {why.sentence}")
    if why.last_line:
        print(f"last line of its log: {why.last_line}")
    if why.remedy:
        print(f"what would help: {why.remedy}")


def logs(
    index: Annotated[int, typer.Argument(help="Index within the stage.")],
    stage: StageOption = "collect",
    experiment: ExperimentOption = Path(),
    lines: Annotated[int, typer.Option(min=0, help="Last lines to print; 0 for all.")] = 40,
) -> None:
    """Print the log of the cluster task that had an index last."""
    from pipeline.queue_view import QueueView

    opened, one = _one(experiment, stage, index)
    view = QueueView.of(opened)
    place = view.last_places(one.name).get(index)
    if place is None:
        raise UserError(f"{one.name} {index} was never submitted to a cluster; it has no log")
    print(place.log(view.folder))
    print("\n".join(view.log_tail(place, lines)))


def doctor(
    experiment: ExperimentOption = Path(),
    on_nodes: Annotated[
        bool, typer.Option("--on-nodes", help="Also ask the nodes, by a probe job on each.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check this machine, the experiment's folder and the cluster before anything is queued."""
    from pipeline.doctor import examine

    found = examine(experiment, on_nodes=on_nodes)
    if as_json:
        print(json.dumps([check.record() for check in found]))
    else:
        for check in found:
            print(check)
    raise typer.Exit(1 if any(check.verdict == "bad" for check in found) else 0)


def _one(experiment: Path, stage: str, index: int) -> tuple[Experiment, Stage]:
    from pipeline.experiment import load
    from pipeline.registry import chosen

    opened, stages = load(experiment), chosen(stage)
    if len(stages) > 1:
        raise UserError("name one --stage: an index is something else in each of them")
    wanted_indices(opened, stages, str(index))
    return opened, stages[0]
