"""The comparison methods: which there are, and what they have found."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

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
            "learns": "labels" if method.learned else "",
            "needs": ", ".join(sorted(method.needs)),
            "package": _package(method.package),
            "source": method.source,
        }
        for method in METHODS.values()
    ]
    if as_json:
        print(json.dumps(rows))
    else:
        show.table(rows)


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


def _package(name: str | None) -> str:
    if name is None:
        return ""
    return f"{name}, {'installed' if find_spec(name) else 'not installed'}"
