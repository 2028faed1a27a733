"""The comparison methods: which there are, and what they have found."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer

from pipeline import show
from pipeline.commands.options import ExperimentOption, JsonOption

app = typer.Typer(help="Comparison methods of the baselines stage.", no_args_is_help=True)


@app.command("list")
def list_methods(as_json: JsonOption = False) -> None:
    """Name every method: its kind, what it needs, where it comes from, and whether its package is installed."""
    from stages.baselines.registry import METHODS

    rows = [
        {
            "method": method.name,
            "kind": method.kind,
            "learned": method.learned,
            "needs": [*["labels"] * method.learned, *sorted(method.needs), *method.files],
            "package": method.package,
            "installed": None if method.package is None else find_spec(method.package) is not None,
            "source": method.source,
        }
        for method in METHODS.values()
    ]
    if as_json:
        print(json.dumps(rows))
    else:
        show.table([_shown(row) for row in rows])


@app.command("table")
def table(experiment: ExperimentOption = Path(), as_json: JsonOption = False) -> None:
    """Show τ by snapshot, and the seconds, of everything that is scored."""
    from pipeline.experiment import load
    from stages.baselines import report

    opened = load(experiment)
    if as_json:
        print(json.dumps(list(report.rows(opened))))
    else:
        print("\n".join(report.table(opened)))


def _shown(row: dict[str, Any]) -> dict[str, str]:
    state = {None: "", True: ", installed", False: ", not installed"}[row["installed"]]
    return {
        "method": row["method"],
        "kind": row["kind"],
        "needs": ", ".join(row["needs"]),
        "package": f"{row['package'] or ''}{state}",
        "source": row["source"],
    }
