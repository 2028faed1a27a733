"""Experiment, stage and indices that a command line names."""

from __future__ import annotations

from pathlib import Path

from pipeline import experiment
from pipeline.array_spec import parse_array
from pipeline.registry import chosen
from stages.baselines import tasks
from stages.baselines.config import BaselinesConfig
from stages.baselines.registry import find
from stages.experiment import Experiment
from stages.stage import Stage
from storage_schema.errors import UserError


def one_stage(name: str, command: str) -> Stage:
    """Return the stage of a `--stage` value that may not be `all`.

    Raises:
        UserError: It is.
    """
    stages = chosen(name)
    _check_one(stages, command)
    return stages[0]


def _check_one(stages: list[Stage], asked: str) -> None:
    if len(stages) > 1:
        raise UserError(f"{asked} needs one --stage: an index is something else in each of them")


def wanted_indices(
    opened: Experiment, stages: list[Stage], array: str | None, methods: str | None = None
) -> tuple[list[int] | None, int | None]:
    """Return the indices asked for, None for all, and how many may run at a time."""
    of_methods = None if methods is None else _of_methods(opened, stages, methods)
    if array is None:
        return of_methods, None
    _check_one(stages, f"--array {array}")
    spec = parse_array(array).within(stages[0].num_tasks(opened))
    among = set(spec.indices if of_methods is None else of_methods)
    return [index for index in spec.indices if index in among], spec.throttle


def _of_methods(opened: Experiment, stages: list[Stage], methods: str) -> list[int]:
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
    if preset is not None and not (root / "experiment.toml").exists():
        if dry_run:
            return experiment.draft(root, preset, settings)[0]
        return experiment.initialize(root, preset, settings)
    if preset is not None:
        experiment.check_preset(root, preset, settings)
    return experiment.load(root) if not settings else experiment.change(root, settings, write=not dry_run)
