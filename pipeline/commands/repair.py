"""`pipeline repair`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import DryRunOption, ExperimentOption, JsonOption, StageOption


def repair(
    stage: StageOption = "all",
    array: Annotated[str | None, typer.Option(help="Only these indices: 0-999, 1,5,9-12.")] = None,
    experiment: ExperimentOption = Path(),
    dry_run: DryRunOption = False,
    rerun: Annotated[bool, typer.Option(help="Compute again what was moved aside, here.")] = True,
    workers: Annotated[int, typer.Option(min=0, help="Worker processes; 0 shares the cores out.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Move what `verify` finds damaged into `damaged/`, and compute just that again."""
    from rich.console import Console

    from pipeline import repair as repairing
    from pipeline.asked import wanted_indices
    from pipeline.experiment import load
    from pipeline.registry import chosen
    from pipeline.run import RunOptions

    restored = repairing.restore_root(experiment, dry_run=dry_run)
    if restored and dry_run:
        print(json.dumps({"findings": restored, "dry_run": True}) if as_json else "\n".join(restored))
        return
    opened, stages = load(experiment), chosen(stage)
    wanted, _ = wanted_indices(opened, stages, array)
    found = repairing.damage(opened, stages, wanted)
    moved = [] if dry_run else repairing.move_aside(opened, found)
    code = 0
    if rerun and found and not dry_run:
        options = RunOptions(cluster="local", workers=workers)
        code = repairing.rerun(opened, stages, found, options, Console(stderr=True))
    findings = [*restored, *map(str, found)]
    if as_json:
        facts = {"findings": findings, "moved": [str(path) for path in moved], "dry_run": dry_run}
        print(json.dumps(facts | {"arrays": repairing.arrays(found)}))
    else:
        print("\n".join(findings) or "nothing is damaged")
        print(repairing.told(opened, found, moved, rerun=rerun, dry_run=dry_run), end="")
    raise typer.Exit(code)
