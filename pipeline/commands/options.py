"""Options that several commands have, and what follows from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.presets import preset_names
from pipeline.registry import STAGES
from stages.baselines.config import BaselinesConfig
from storage_schema.errors import UserError

if TYPE_CHECKING:
    from stages.experiment import Experiment
    from stages.stage import Stage

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


def wanted_indices(
    opened: Experiment, stages: list[Stage], array: str | None, methods: str | None = None
) -> tuple[list[int] | None, int | None]:
    """Return the indices asked for, None for all, and how many may run at a time."""
    from pipeline.array_spec import parse_array

    found = None if methods is None else _of_methods(opened, stages, methods)
    if array is None:
        return found, None
    if len(stages) > 1:
        raise UserError(f"--array {array} needs one --stage: an index is something else in each of them")
    spec = parse_array(array).within(stages[0].num_tasks(opened))
    among = set(spec.indices if found is None else found)
    return [index for index in spec.indices if index in among], spec.throttle


def _of_methods(opened: Experiment, stages: list[Stage], methods: str) -> list[int]:
    from stages.baselines import tasks
    from stages.baselines.registry import find

    if [each.name for each in stages] != ["baselines"]:
        raise UserError(f"--methods {methods} needs --stage baselines")
    names, chosen = [find(name) for name in methods.split(",")], opened.settings(BaselinesConfig).chosen
    missing = [name for name in names if name not in chosen]
    if missing:
        raise UserError(
            f"{', '.join(missing)} is not in baselines.methods; "
            f"add it: --set baselines.methods='{', '.join((*chosen, *missing))}'"
        )
    return tasks.indices(opened, names)


def open_or_make(root: Path, preset: str | None, settings: list[str], dry_run: bool) -> Experiment:
    """Open an experiment, with settings changed, or make it from a preset; a dry run writes nothing."""
    from pipeline import experiment

    if preset is not None and not (root / "experiment.toml").exists():
        if dry_run:
            return experiment.draft(root, preset, settings)[0]
        return experiment.initialize(root, preset, settings)
    if preset is not None:
        experiment.check_preset(root, preset, settings)
    return experiment.load(root) if not settings else experiment.change(root, settings, write=not dry_run)
