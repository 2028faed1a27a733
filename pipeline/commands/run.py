"""`pipeline run`."""

from __future__ import annotations

import json
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
)
from pipeline.commands.submission import show_submission

if TYPE_CHECKING:
    from pipeline.run import RunOptions
    from stages.experiment import Experiment
    from stages.stage import Stage


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
    from pipeline.asked import open_or_make, wanted_indices
    from pipeline.cluster import ClusterOptions, where_to_run
    from pipeline.registry import chosen
    from pipeline.run import RunOptions

    stages = chosen(stage)
    settings = [*(settings or []), *(["splits.allow_partial=true"] if allow_partial else [])]
    settings += ["splits.keep_twins_together=true"] if keep_twins_together else []
    where = where_to_run(cluster)
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
        show_submission(opened, stages, wanted, asked, dry_run=dry_run, wait=wait, as_json=as_json)
        return
    options = RunOptions(
        cluster=where, workers=workers, throttle=throttle, allow_device_change=allow_device_change
    )
    if dry_run:
        from pipeline.forecast import dry_run as foresee

        show.facts(foresee(opened, stages, wanted, options), as_json)
        return
    raise typer.Exit(show_run(opened, stages, wanted, options, as_json))


def show_run(
    opened: Experiment, stages: list[Stage], wanted: list[int] | None, options: RunOptions, as_json: bool
) -> int:
    """Run stages in this process or in workers, print how far each is, and return an exit code."""
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
