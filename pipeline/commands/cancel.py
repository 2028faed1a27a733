"""`pipeline cancel`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline import show
from pipeline.commands.options import ExperimentOption, JsonOption, StageOption


def cancel(
    stage: StageOption = "all",
    array: Annotated[str | None, typer.Option(help="Only these indices.")] = None,
    experiment: ExperimentOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Cancel what is queued or running on the cluster; running tasks save first, and a later run goes on."""
    from pipeline.asked import wanted_indices
    from pipeline.cluster import cancel as withdraw
    from pipeline.experiment import load
    from pipeline.registry import chosen

    opened, stages = load(experiment), chosen(stage)
    wanted, _ = wanted_indices(opened, stages, array)
    show.facts({"cancelled": withdraw(opened, stages, wanted)}, as_json)
