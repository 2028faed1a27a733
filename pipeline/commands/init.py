"""`pipeline init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline import show
from pipeline.commands.options import JsonOption, PresetOption, SetOption


def init(
    directory: Annotated[Path, typer.Argument(help="The directory to make.")],
    preset: PresetOption,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an experiment directory: settings, plan and identity."""
    from pipeline.experiment import initialize

    experiment = initialize(directory, preset, settings or [])
    facts = {
        "experiment": str(directory),
        "identity": experiment.identity,
        "architectures": len(experiment.architectures),
        "next": f"pipeline run --experiment {directory} --stage all",
    }
    show.facts(facts, as_json)
