"""`pipeline data manifest`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Image data sets.", no_args_is_help=True)


@app.command()
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
