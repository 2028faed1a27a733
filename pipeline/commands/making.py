"""Making experiments, and vouching for data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline import show
from pipeline.commands.options import DryRunOption, ExperimentOption, JsonOption, PresetOption, SetOption


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


def manifest(
    directory: Annotated[Path, typer.Argument(help="Folder that holds the data set's files.")],
    name: Annotated[
        str | None, typer.Option(help="Which data set; needed when the folder holds several.")
    ] = None,
) -> None:
    """Vouch for data files that no official list covers: write their checksums beside them."""
    from stages.datasets.checksums import names_at, write_manifest

    for each in [name] if name else names_at(directory):
        print(f"wrote {write_manifest(directory, each)}")
