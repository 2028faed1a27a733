"""`pipeline predict`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline import show
from pipeline.commands.options import ExperimentOption, JsonOption


def predict(
    using: Annotated[
        str, typer.Option("--using", help="Trained experiment, and its trial: runs/c10, runs/c10/3.")
    ],
    experiment: ExperimentOption = Path(),
    snapshots: Annotated[
        int | None, typer.Option(min=1, help="Snapshots to use; all of them if not given.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Train size of the model; the largest if not given.")
    ] = None,
    variant: Annotated[str, typer.Option(help="Variant of the model.")] = "maps",
    out: Annotated[Path | None, typer.Option(help="Write the ranking into this file (CSV, Parquet).")] = None,
    top: Annotated[int, typer.Option(min=1, help="Rows to print.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Rank an experiment's architectures by another's frozen models; no label of them is read."""
    from pipeline import predict as prediction
    from pipeline.experiment import load

    target = load(experiment)
    model = prediction.find_model(using, size, variant)
    found = prediction.rank(target, model, snapshots)
    if out is not None:
        prediction.write(found.rows, out)
    if as_json:
        print(json.dumps({**found.facts, "ranking": found.rows}))
        return
    show.facts(found.facts, False)
    show.table(found.rows[:top])
    if len(found.rows) > top:
        print(f"and {len(found.rows) - top} more; --top {len(found.rows)} or --out FILE shows all")
