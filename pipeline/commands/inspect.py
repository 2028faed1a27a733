"""`pipeline inspect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline import show
from pipeline.commands.options import ExperimentOption, JsonOption


def inspect(
    index: Annotated[int, typer.Argument(help="Index of the architecture in the plan.")],
    experiment: ExperimentOption = Path(),
    kind: Annotated[str, typer.Option(help="weights or gradients.")] = "weights",
    layer: Annotated[
        str | None, typer.Option(help="Position or name; else the mean over reachable layers.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw a picture into this file (PNG, SVG, PDF).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show one architecture: facts, curves and statistics over its snapshots."""
    from pipeline import inspect as inspection
    from pipeline.experiment import load

    opened = load(experiment)
    found = inspection.inspect(opened, index, kind, layer)
    if plot is not None:
        inspection.plot(opened, index, kind, plot)
    if as_json:
        print(json.dumps({**found.facts, "snapshots": [show.finite(row) for row in found.rows]}))
        return
    show.facts(found.facts, False)
    if found.rows:
        show.table(found.rows)
    if plot is not None:
        print(f"picture: {plot}")
