"""`pipeline doctor`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import ExperimentOption, JsonOption


def doctor(
    experiment: ExperimentOption = Path(),
    on_nodes: Annotated[
        bool, typer.Option("--on-nodes", help="Also ask the nodes, by a probe job on each.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check this machine, the experiment's folder and the cluster before anything is queued."""
    from pipeline.doctor import examine

    found = examine(experiment, on_nodes=on_nodes)
    if as_json:
        print(json.dumps([check.record() for check in found]))
    else:
        for check in found:
            print(check)
    raise typer.Exit(1 if any(check.verdict == "bad" for check in found) else 0)
