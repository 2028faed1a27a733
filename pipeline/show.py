"""Facts and tables on the screen, or as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any


def facts(found: Mapping[str, Any], as_json: bool) -> None:
    """Print one fact a line."""
    if as_json:
        print(json.dumps(found))
        return
    for key, value in found.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        print(f"{key}: {text}")


def finite(row: Mapping[str, float]) -> dict[str, float | None]:
    """Return a row for JSON, which knows no NaN."""
    return {name: value if math.isfinite(value) else None for name, value in row.items()}


def table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows of the same keys."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None)
    for name in rows[0]:
        shown.add_column(
            name.replace("_", " "),
            justify="left" if isinstance(rows[0][name], str) else "right",
            no_wrap=True,
        )
    for row in rows:
        shown.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    width = (
        Console(width=1000).measure(shown).maximum
    )  # what is piped, or too wide for a terminal, is not cut
    Console(highlight=False, width=width).print(shown)
