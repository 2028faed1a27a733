"""`pipeline extend`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline import show
from pipeline.commands.options import DryRunOption, ExperimentOption, JsonOption


def extend(
    number: Annotated[int, typer.Option("--number", help="Architectures to have in all.")],
    experiment: ExperimentOption = Path(),
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Add architectures to an experiment; nothing that is done is done again."""
    from pipeline import extend as extension

    facts = extension.extend(experiment, number, dry_run=dry_run)
    show.facts(facts, as_json)
