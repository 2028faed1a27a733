"""The experiment directory: making one from a preset, and opening it again."""

from __future__ import annotations

import csv
import io
import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pipeline import config
from pipeline.identity import parts
from pipeline.record import (
    ExperimentError,
    IdentityRecord,
    as_made,
    check_settings,
    first_rows,
    identity_record,
    plan_digest,
    plans,
    possible_records,
    read_identity,
    recorded_versions,
    with_number,
    written,
)
from pipeline.sections import SLURM
from stages.datasets.config import DataConfig
from stages.datasets.load import content_digest
from stages.experiment import Experiment
from stages.labels.config import LabelsConfig
from stages.labels.table import read_table
from stages.search_spaces import own_code, registry
from stages.search_spaces.chosen import task_of
from stages.search_spaces.config import ArchitecturesConfig
from stages.search_spaces.sample import draw
from stages.settings import Settings
from stages.training.config import TrainingConfig
from storage_schema import create, durable, markers
from storage_schema.layout import Layout


def initialize(root: Path, preset: str, settings: Sequence[str] = ()) -> Experiment:
    """Make an experiment directory; it appears whole or not at all.

    Args:
        root: The directory; it must not exist, or be empty.
        preset: Name of the preset.
        settings: `section.key=value`, each.

    Raises:
        ExperimentError: The directory is in use.
        UserError: A setting, the data set or the label table is not right.
    """
    _, files = draft(root, preset, settings)
    _write_whole(root.resolve(), files)
    return load(root)


def draft(root: Path, preset: str, settings: Sequence[str] = ()) -> tuple[Experiment, dict[str, bytes]]:
    """Return the experiment that `initialize` would make, and its files by name, and write nothing.

    Raises:
        ExperimentError: The directory is in use.
        UserError: A setting, the data set or the label table is not right.
    """
    tree = config.with_settings(config.preset(preset), settings)
    resolved = config.resolve(tree)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ExperimentError(f"{root} exists and is not empty; choose another directory")
    data_digest = content_digest(resolved(DataConfig))
    labels = known_labels(resolved)
    names = draw(resolved(ArchitecturesConfig), labels, resolved(DataConfig).name)
    _try_own_space(resolved, names)
    plan, layout = _plan_csv(names, labels), Layout(root)
    record = identity_record(resolved, plan, data_digest)
    files = {
        layout.config.name: config.to_toml(
            resolved, f"# Made from preset {preset}.", tree.get(SLURM, {})
        ).encode(),
        layout.plan.name: plan,
        layout.identity.name: written(record),
    }
    return _experiment(layout, resolved, plan, record), files


def load(root: Path) -> Experiment:
    """Open an experiment directory.

    Raises:
        ExperimentError: There is none, or its settings or plan are not those it was made with.
    """
    layout = Layout(root)
    if not layout.config.is_file() or not layout.identity.is_file():
        raise ExperimentError(
            f"{root} is not an experiment; make one with: pipeline init --preset demo {root}"
        )
    record = read_identity(layout.identity)
    resolved = config.read(layout.config)
    check_settings(record, as_made(record, resolved), str(layout.config))
    plan = _planned(layout, resolved)
    if plan_digest(plan) != plans(record)[resolved(ArchitecturesConfig).number]:
        raise ExperimentError(f"{layout.plan} is not the plan the experiment was made with; restore it")
    create.recover(layout.dynamics)
    return _experiment(layout, resolved, plan, record)


def change(root: Path, settings: Sequence[str], *, write: bool = True) -> Experiment:
    """Change settings of an experiment that do not decide what is collected, in its `experiment.toml`.

    Args:
        root: The experiment.
        settings: `section.key=value`, each.
        write: Else nothing is written: what the experiment would be is returned.

    Raises:
        ExperimentError: A setting decides what is collected.
    """
    before, path = load(root), Layout(root).config
    slurm = config.read_tree(path).get(SLURM, {})
    tree = config.with_settings({**config.to_tree(before.settings), SLURM: slurm}, settings)
    resolved, record = config.resolve(tree), read_identity(before.layout.identity)
    check_settings(record, as_made(record, resolved), f"{root}, as --set asks")
    # The number it was made with may be said again, as in the command that made it, and takes nothing back.
    resolved = with_number(resolved, before.settings(ArchitecturesConfig).number)
    if write and (resolved != before.settings or tree[SLURM] != slurm):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        durable.write(path, config.to_toml(resolved, first, tree[SLURM]).encode())
    return replace(before, settings=resolved)


def damaged_files(root: Path) -> dict[Path, bytes]:
    """Return plan and identity as they follow from the settings, as far as those on disk are damaged.

    Raises:
        ExperimentError: What follows from the settings is not what was made here: the settings were changed too.
    """
    layout = Layout(root)
    resolved = config.read(layout.config)
    try:
        record = read_identity(layout.identity)
    except (ExperimentError, FileNotFoundError):
        record = None
    number = resolved(ArchitecturesConfig).number
    if record is not None and plan_digest(_planned(layout, resolved)) == plans(record).get(number):
        return {}
    drawn = drawn_plan(resolved)
    data = content_digest(resolved(DataConfig)) if record is None else record["data"]
    made = _identity_of_markers(layout) if record is None else record["identity"]
    fresh = next(
        (each for each in possible_records(resolved, drawn, data) if made in (None, each["identity"])), None
    )
    if fresh is None or plans(record or fresh).get(number) != plan_digest(drawn):
        raise ExperimentError(
            f"{layout.config} leads to experiment {identity_record(resolved, drawn, data)['identity']}, but {made} "
            "was made here; restore experiment.toml, plan.csv and identity.json from a copy"
        )
    contents = {layout.plan: drawn, layout.identity: written(record or fresh)}
    return {path: content for path, content in contents.items() if not _has(path, content)}


def _has(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def _identity_of_markers(layout: Layout) -> str | None:
    """What the collected data say they belong to; None where nothing is collected."""
    for index in sorted(markers.done_indices(layout.markers("collect"))):
        with suppress(markers.MarkerError):
            found = markers.load(layout.marker("collect", index))
            return None if found is None else found.identity
    return None


def check_preset(root: Path, preset: str, settings: Sequence[str]) -> None:
    """Check that an experiment is what a preset with settings would make, as far as it decides what is collected.

    Raises:
        ExperimentError: It is another one.
    """
    asked = config.resolve(config.with_settings(config.preset(preset), settings))
    opened, record = load(root), read_identity(Layout(root).identity)
    kept = {"settings": as_made(record, opened.settings)}
    check_settings(kept, as_made(record, asked), f"{root} and preset {preset}")


def _experiment(layout: Layout, resolved: Settings, plan: bytes, record: IdentityRecord) -> Experiment:
    names, labels = _read_plan(layout.plan, plan, resolved(ArchitecturesConfig).number)
    return Experiment(
        layout=layout,
        settings=resolved,
        identity=record["identity"],
        architectures=names,
        planned_labels=labels,
        data_digest=record["data"],
        open_other=load,
        parts_of=parts,
        space_code=json.dumps(registry.recorded(record["settings"])),
        **recorded_versions(record),
    )


def with_plan(experiment: Experiment, resolved: Settings, plan: bytes) -> Experiment:
    """Return the experiment with other settings and the plan that belongs to them."""
    names, labels = _read_plan(experiment.layout.plan, plan, resolved(ArchitecturesConfig).number)
    return replace(experiment, settings=resolved, architectures=names, planned_labels=labels)


def _read_plan(path: Path, plan: bytes, number: int) -> tuple[tuple[str, ...], tuple[float | None, ...]]:
    """Return architecture and label of every index."""
    try:
        rows = list(csv.DictReader(io.StringIO(plan.decode())))
        names = tuple(row["architecture"] for row in rows)
        labels = tuple(float(row["label"]) if row["label"] else None for row in rows)
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise ExperimentError(f"{path} is no plan ({error}); restore it") from error
    if len(names) != number or not all(label is None or 0 <= label <= 1 for label in labels):
        raise ExperimentError(
            f"{path} has {len(names)} architectures instead of {number}, or labels that are no fractions; "
            "restore it"
        )
    return names, labels


def _planned(layout: Layout, resolved: Settings) -> bytes:
    """Return the plan on disk as far as it is the experiment's: an extension that was killed has left a longer one."""
    plan = layout.plan.read_bytes() if layout.plan.is_file() else b""
    return first_rows(plan, resolved(ArchitecturesConfig).number)


def _try_own_space(resolved: Settings, names: Sequence[str]) -> None:
    section = resolved(ArchitecturesConfig)
    if own_code.is_own(section.space):
        from stages.search_spaces.trial import try_space

        space = registry.open_space(section.space, section.channels, section.cells_per_stage)
        try_space(space, names, task_of(resolved), resolved(TrainingConfig).seed)


def drawn_plan(resolved: Settings) -> bytes:
    """Draw the plan that settings lead to.

    Raises:
        UserError: There are not so many architectures, or the label table is not right.
    """
    labels = known_labels(resolved)
    return _plan_csv(draw(resolved(ArchitecturesConfig), labels, resolved(DataConfig).name), labels)


def known_labels(resolved: Settings) -> dict[str, float] | None:
    """Return the labels known beforehand, by architecture string; None where they are trained."""
    labels, space = resolved(LabelsConfig), resolved(ArchitecturesConfig)
    if labels.source == "training":
        return None
    if labels.source == "table":
        return read_table(
            labels, registry.open_space(space.space, space.channels, space.cells_per_stage).parse
        )
    from stages.labels.nasbench201_api import read_api_file

    return read_api_file(labels.path(), labels.column)


def _write_whole(root: Path, files: Mapping[str, bytes]) -> None:
    """Make the directory with its files in one rename; one that is there, and empty, is filled.

    Somebody may stand in a directory that is there, so it is not replaced. Its last file is `identity.json`,
    without which it is no experiment.
    """
    filled = root.is_dir()
    name = f"{root.name}.{uuid.uuid4().hex[:8]}{durable.PARTIAL}"
    temporary = root / name if filled else root.with_name(name)
    try:
        for file, content in files.items():
            durable.write(temporary / file, content)
        if filled:
            for file in files:
                (temporary / file).rename(root / file)
        else:
            temporary.rename(root)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    durable.sync_folder(root if filled else root.parent)


def _plan_csv(names: Sequence[str], labels: Mapping[str, float] | None) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("index", "architecture", "label"))
    for index, name in enumerate(names):
        writer.writerow((index, name, "" if labels is None else repr(labels[name])))
    return text.getvalue().encode()
