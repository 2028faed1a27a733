"""`pipeline status`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import ExperimentOption, JsonOption, StageOption


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
    from pipeline.overview import Overview
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
    while True:
        found = Overview.of(opened, stages)
        print(json.dumps(found.record()) if as_json else "\n".join(found.lines(where)))
        if not watch or found.done:
            return
        time.sleep(seconds)
        print()
