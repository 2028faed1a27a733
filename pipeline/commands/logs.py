"""`pipeline logs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import ExperimentOption, StageOption
from storage_schema.errors import UserError


def logs(
    index: Annotated[int, typer.Argument(help="Index within the stage.")],
    stage: StageOption = "collect",
    experiment: ExperimentOption = Path(),
    lines: Annotated[int, typer.Option(min=0, help="Last lines to print; 0 for all.")] = 40,
) -> None:
    """Print the log of the cluster task that had an index last."""
    from pipeline.asked import one_stage, wanted_indices
    from pipeline.experiment import load
    from pipeline.queue_view import QueueView

    opened, one = load(experiment), one_stage(stage, "logs")
    wanted_indices(opened, [one], str(index))
    view = QueueView.of(opened)
    place = view.last_places(one.name).get(index)
    if place is None:
        raise UserError(f"{one.name} {index} was never submitted to a cluster; it has no log")
    print(place.log(view.folder))
    print("\n".join(view.log_tail(place, lines)))
