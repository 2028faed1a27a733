"""`pipeline explain`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import ExperimentOption, JsonOption, StageOption


def explain(
    index: Annotated[int, typer.Argument(help="Index within the stage.")],
    stage: StageOption = "collect",
    experiment: ExperimentOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Say why an index is not running or not done, and what would help."""
    from dataclasses import asdict

    from pipeline.asked import one_stage, wanted_indices
    from pipeline.experiment import load
    from pipeline.explain import explain as explanation

    opened, one = load(experiment), one_stage(stage, "explain")
    wanted_indices(opened, [one], str(index))
    why = explanation(opened, one, index)
    if as_json:
        print(json.dumps({"stage": one.name, "index": index, **asdict(why)}))
        return
    print(f"{one.name} {index} ({one.describe(opened, index)}): {why.sentence}")
    if why.last_line:
        print(f"last line of its log: {why.last_line}")
    if why.remedy:
        print(f"what would help: {why.remedy}")
