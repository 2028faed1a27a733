"""`pipeline worker`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import ExperimentOption, StageOption


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
    from pipeline.asked import one_stage, wanted_indices
    from pipeline.execute import IndexTask
    from pipeline.experiment import load
    from slurm.array_task import run_indices

    opened, one = load(experiment), one_stage(stage, "worker")
    wanted_indices(opened, [one], str(index))
    gather.prepare(opened, one)
    task = IndexTask(str(opened.layout.root.resolve()), one.name, allow_device_change, patient=True)
    raise typer.Exit(run_indices(task, [index]))
