"""Running stages: here, in worker processes, or on a cluster."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import show
from pipeline.commands.options import (
    ClusterOption,
    ExperimentOption,
    JsonOption,
    MaxFailuresOption,
    ProfileOption,
    SbatchOption,
    SetOption,
    StageOption,
    open_or_make,
    wanted_indices,
)
from storage_schema.errors import UserError

if TYPE_CHECKING:
    from pipeline.cluster import ClusterOptions
    from pipeline.run import RunOptions
    from stages.experiment import Experiment
    from stages.stage import Stage

CLUSTERS = ("auto", "inline", "local", "slurm")


def run(
    stage: StageOption = "all",
    array: Annotated[
        str | None, typer.Option(help="Indices, as Slurm writes them: 0-999, 0-99:3, 1,5,9-12.")
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="Baselines to run, separated by commas: 'cell trees,SoTL'.")
    ] = None,
    cluster: ClusterOption = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Worker processes; 0 shares the cores out.")] = 0,
    experiment: ExperimentOption = Path(),
    preset: Annotated[
        str | None, typer.Option("--preset", help="Make the experiment first, if it is not there.")
    ] = None,
    settings: SetOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would run, and what it would take.")
    ] = False,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Go on with the architectures that are finished.")
    ] = False,
    keep_twins_together: Annotated[
        bool, typer.Option("--keep-twins-together", help="Isomorphic twins go into one part of a split.")
    ] = False,
    allow_device_change: Annotated[
        bool, typer.Option(help="Resume on another device or versions; recorded.")
    ] = False,
    profile: ProfileOption = None,
    sbatch: SbatchOption = None,
    pack: Annotated[int | None, typer.Option(min=1, help="Indices a Slurm task.")] = None,
    max_parallel: Annotated[int | None, typer.Option(min=1, help="Slurm tasks that run at a time.")] = None,
    max_failures: MaxFailuresOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow what was submitted to its end.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run what is missing of one stage or of all; run it again after any interruption."""
    from pipeline.cluster import ClusterOptions
    from pipeline.registry import chosen
    from pipeline.run import RunOptions

    stages = chosen(stage)
    settings = [*(settings or []), *(["splits.allow_partial=true"] if allow_partial else [])]
    settings += ["splits.keep_twins_together=true"] if keep_twins_together else []
    where = _where(cluster)
    opened = open_or_make(experiment, preset, settings, dry_run)
    wanted, throttle = wanted_indices(opened, stages, array, methods)
    if where == "slurm":
        asked = ClusterOptions(
            profile=profile,
            sbatch=tuple(sbatch or ()),
            pack=pack,
            max_parallel=max_parallel or throttle,
            max_failures=max_failures,
            allow_device_change=allow_device_change,
        )
        _on_cluster(opened, stages, wanted, asked, dry_run=dry_run, wait=wait, as_json=as_json)
        return
    options = RunOptions(
        cluster=where, workers=workers, throttle=throttle, allow_device_change=allow_device_change
    )
    if dry_run:
        from pipeline.forecast import dry_run as foresee

        show.facts(foresee(opened, stages, wanted, options), as_json)
        return
    raise typer.Exit(_here(opened, stages, wanted, options, as_json))


def retry(
    stage: StageOption = "collect",
    array: Annotated[str | None, typer.Option(help="Only these indices.")] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Those that failed; the default without --array.")
    ] = False,
    exclude_nodes: Annotated[
        str | None, typer.Option(help="Nodes to keep away from, as Slurm writes them: node3,node[7-9].")
    ] = None,
    experiment: ExperimentOption = Path(),
    profile: ProfileOption = None,
    sbatch: SbatchOption = None,
    max_failures: MaxFailuresOption = None,
    as_json: JsonOption = False,
) -> None:
    """Submit again what failed, or the indices given, of one stage."""
    from pipeline.cluster import ClusterOptions
    from pipeline.experiment import load
    from pipeline.explain import failed as failures
    from pipeline.registry import chosen

    opened, stages = load(experiment), chosen(stage)
    if len(stages) > 1:
        raise UserError("retry needs one --stage: an index is something else in each of them")
    wanted, throttle = wanted_indices(opened, stages, array)
    if failed or wanted is None:
        lost = set(failures(opened, stages[0]))
        wanted = sorted(lost if wanted is None else lost & set(wanted))
    if not wanted:
        show.facts({"failed": "none; nothing to submit"}, as_json)
        return
    away = [f"exclude={exclude_nodes}"] if exclude_nodes else []
    asked = ClusterOptions(
        profile=profile,
        sbatch=(*(sbatch or ()), *away),
        max_parallel=throttle,
        max_failures=max_failures,
    )
    _on_cluster(opened, stages, wanted, asked, dry_run=False, wait=False, as_json=as_json)


def cancel(
    stage: StageOption = "all",
    array: Annotated[str | None, typer.Option(help="Only these indices.")] = None,
    experiment: ExperimentOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Cancel what is queued or running on the cluster; running tasks save first, and a later run goes on."""
    from pipeline.cluster import cancel as withdraw
    from pipeline.experiment import load
    from pipeline.registry import chosen

    opened, stages = load(experiment), chosen(stage)
    wanted, _ = wanted_indices(opened, stages, array)
    show.facts({"cancelled": withdraw(opened, stages, wanted)}, as_json)


def worker(
    index: Annotated[int, typer.Option(min=0, help="Such as $SLURM_ARRAY_TASK_ID.")],
    stage: StageOption = "collect",
    experiment: ExperimentOption = Path(),
    allow_device_change: Annotated[
        bool, typer.Option(help="Resume on another device or versions; recorded.")
    ] = False,
) -> None:
    """Run one index, for one's own job scripts; in a Slurm job it asks to be requeued when it is stopped."""
    from pipeline import gather
    from pipeline.execute import IndexTask
    from pipeline.experiment import load
    from pipeline.registry import chosen
    from slurm.array_task import run_indices

    opened, stages = load(experiment), chosen(stage)
    if len(stages) > 1:
        raise UserError("worker needs one --stage: an index is something else in each of them")
    wanted_indices(opened, stages, str(index))
    gather.prepare(opened, stages[0])
    task = IndexTask(str(opened.layout.root.resolve()), stages[0].name, allow_device_change, patient=True)
    raise typer.Exit(run_indices(task, [index]))


def _where(cluster: str) -> str:
    from slurm import controller

    if cluster not in CLUSTERS:
        raise UserError(f"unknown cluster {cluster!r}; use inline, local, slurm or auto")
    inside = "SLURM_JOB_ID" in os.environ  # a job works on what it was given
    return "slurm" if cluster == "auto" and not inside and controller.answers() else cluster


def _here(
    opened: Experiment, stages: list[Stage], wanted: list[int] | None, options: RunOptions, as_json: bool
) -> int:
    from rich.console import Console

    from pipeline.run import run_stage, summary
    from pipeline.status import stage_status
    from slurm.preemption import EXIT_STOPPED

    console = Console(stderr=True, highlight=False)
    code, report = 0, {}
    for each in stages:
        ended = run_stage(opened, each, wanted, options, console)
        code = ended or code
        status = stage_status(opened, each)
        report[each.name] = {state: len(found) for state, found in status.indices.items()}
        if not as_json:
            print("\n".join([summary(status), *(each.report(opened) if status.indices["done"] else ())]))
        if ended and (each.required or ended == EXIT_STOPPED):
            break
    if as_json:
        print(json.dumps(report))
    return code


def _on_cluster(
    opened: Experiment,
    stages: list[Stage],
    wanted: list[int] | None,
    options: ClusterOptions,
    *,
    dry_run: bool,
    wait: bool,
    as_json: bool,
) -> None:
    from pipeline import cluster
    from pipeline.array_spec import format_array

    if dry_run:
        show.facts(cluster.dry_run(opened, stages, wanted, options), as_json)
        return
    done = cluster.submit(opened, stages, wanted, options)
    root = opened.layout.root
    where = "" if root.resolve() == Path.cwd() else f" --experiment {root}"
    if as_json:
        told = [{"job": each.job, "stage": each.stage, "tasks": len(each.indices)} for each in done.new]
        print(json.dumps({"submitted": told, "already": done.already, "nothing_left": done.inline}))
    else:
        for each in done.new:
            print(f"{each.stage}: job {each.job}, {len(each.indices)} tasks")
        for name, indices in done.already.items():
            print(f"{name}: {format_array(indices)} queued or running already")
        for name in done.inline:
            print(f"{name}: all done")
        print(f"watch: pipeline status{where} --watch")
    if wait:
        raise typer.Exit(cluster.follow(opened, stages))
