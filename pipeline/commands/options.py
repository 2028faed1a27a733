"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.presets import preset_names
from pipeline.registry import STAGES

ExperimentOption = Annotated[Path, typer.Option("--experiment", "-e", help="Experiment directory.")]
PresetOption = Annotated[str, typer.Option("--preset", help=f"{', '.join(preset_names())}.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="A setting, section.key=value; repeatable.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Change nothing: say what would be done.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ClusterOption = Annotated[
    str,
    typer.Option(
        help="inline (this process), local (worker processes), slurm, or auto: slurm where a controller answers."
    ),
]
ProfileOption = Annotated[
    str | None, typer.Option(help="Resources on Slurm: cpu or gtx1080ti; [slurm] settings come after it.")
]
SbatchOption = Annotated[
    list[str] | None, typer.Option("--sbatch", help="An option of sbatch, name=value; repeatable.")
]
MaxFailuresOption = Annotated[
    int | None, typer.Option(min=1, help="Give a Slurm array up after so many failed tasks.")
]
StageOption = Annotated[str, typer.Option("--stage", help=f"{', '.join(STAGES)}, or all in this order.")]
