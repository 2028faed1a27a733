"""`pipeline verify`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import ExperimentOption, JsonOption, StageOption


def verify(
    stage: StageOption = "all",
    array: Annotated[str | None, typer.Option(help="Only these indices: 0-999, 1,5,9-12.")] = None,
    experiment: ExperimentOption = Path(),
    sample: Annotated[int, typer.Option(min=0, help="Also train so many finished networks again.")] = 0,
    seed: Annotated[int, typer.Option(help="Which ones.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare what is on disk with the digests in the done-markers; exit code 1 if anything differs."""
    from dataclasses import asdict

    from pipeline.asked import wanted_indices
    from pipeline.experiment import load
    from pipeline.registry import chosen
    from pipeline.verify import check

    opened, stages = load(experiment), chosen(stage)
    wanted, _ = wanted_indices(opened, stages, array)
    found = check(opened, stages, wanted, sample=sample, seed=seed, tracked=_tracked)
    if as_json:
        print(json.dumps(asdict(found)))
    else:
        print(
            "\n".join(found.findings) or f"{found.checked} finished indices are as they were computed", end=""
        )
        print(f"; {sample} trained again, every value equal" if sample and not found.findings else "")
        for name, indices in found.partial.items():
            if indices:
                print(f"partial, without a done-marker: {name} {indices}; finish them: run --stage {name}")
        for name, indices in found.stale.items():
            if indices:
                print(f"done with other settings or inputs: {name} {indices}; run --stage {name}")
    raise typer.Exit(1 if found.findings else 0)


def _tracked(indices: Sequence[int], description: str) -> Iterable[int]:
    """Go through indices with a bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(indices, description, console=console, disable=not console.is_terminal)
