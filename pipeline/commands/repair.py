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
    from pipeline.asked import wanted_indices
    from pipeline.experiment import load
    from pipeline.registry import chosen
    from pipeline.repair import repair as mend
    from pipeline.repair import restore_root

    restored = restore_root(experiment, dry_run=dry_run)
    if restored and dry_run:
        print(json.dumps({"findings": restored, "dry_run": True}) if as_json else "\n".join(restored))
        return
    opened, stages = load(experiment), chosen(stage)
    wanted, _ = wanted_indices(opened, stages, array)
    found = mend(opened, stages, wanted, dry_run=dry_run, rerun=rerun, workers=workers)
    findings = [*restored, *found.findings]
    if as_json:
        facts = {"findings": findings, "moved": found.moved, "dry_run": dry_run, "arrays": found.arrays}
        print(json.dumps(facts))
    else:
        print("\n".join((*(findings or ["nothing is damaged"]), *found.told)))
    raise typer.Exit(found.code)
