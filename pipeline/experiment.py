"""The experiment directory: making one from a preset, and opening it again."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

from pipeline import config
from stages.datasets.load import content_digest
from stages.labels.config import LabelsConfig
from stages.labels.table import read_table
from stages.search_spaces.sample import draw
from stages.stage import Experiment, ExperimentConfig
from storage_schema import documents, durable, markers, schema
from storage_schema.errors import UserError
from storage_schema.layout import Layout


class IdentityRecord(TypedDict):
    """What decides results (digests of plan and data, and the settings), and its hash."""

    identity: str
    settings: dict[str, Any]
    plan: str
    data: str


class ExperimentError(UserError, ValueError):
    """A directory that is not an experiment, or one of another identity."""


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
    data_digest = content_digest(resolved.data)
    labels = known_labels(resolved.labels)
    names = draw(resolved.architectures, labels, resolved.data.name)
    plan, layout = _plan_csv(names, labels), Layout(root)
    record = identity_record(resolved, plan, data_digest)
    files = {
        layout.config.name: config.to_toml(
            resolved, f"# Made from preset {preset}.", tree.get(config.SLURM, {})
        ).encode(),
        layout.plan.name: plan,
        layout.identity.name: (json.dumps(record, indent=1) + "\n").encode(),
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
    record = _read_identity(layout.identity)
    resolved = config.read(layout.config)
    check_settings(record, config.scientific(resolved), str(layout.config))
    plan = layout.plan.read_bytes() if layout.plan.is_file() else b""
    if hashlib.sha256(plan).hexdigest() != record["plan"]:
        raise ExperimentError(f"{layout.plan} is not the plan the experiment was made with; restore it")
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
    slurm = config.read_tree(path).get(config.SLURM, {})
    tree = config.with_settings({**config.to_tree(before.config), config.SLURM: slurm}, settings)
    resolved = config.resolve(tree)
    check_settings(
        _read_identity(before.layout.identity), config.scientific(resolved), f"{root}, as --set asks"
    )
    if write and (resolved != before.config or tree[config.SLURM] != slurm):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        durable.write(path, config.to_toml(resolved, first, tree[config.SLURM]).encode())
    return replace(before, config=resolved)


def damaged_files(root: Path) -> dict[Path, bytes]:
    """Return plan and identity as they follow from the settings, as far as those on disk are damaged.

    Raises:
        ExperimentError: What follows from the settings is not what was made here: the settings were changed too.
    """
    layout = Layout(root)
    resolved = config.read(layout.config)
    try:
        record = _read_identity(layout.identity)
    except (ExperimentError, FileNotFoundError):
        record = None
    plan = layout.plan.read_bytes() if layout.plan.is_file() else b""
    if record is not None and hashlib.sha256(plan).hexdigest() == record["plan"]:
        return {}
    labels = known_labels(resolved.labels)
    drawn = _plan_csv(draw(resolved.architectures, labels, resolved.data.name), labels)
    data = content_digest(resolved.data) if record is None else record["data"]
    fresh = identity_record(resolved, drawn, data)
    made = _identity_of_markers(layout) if record is None else record["identity"]
    if made not in (None, fresh["identity"]):
        raise ExperimentError(
            f"{layout.config} leads to experiment {fresh['identity']}, but {made} was made here; "
            "restore experiment.toml, plan.csv and identity.json from a copy"
        )
    contents = {layout.plan: drawn, layout.identity: (json.dumps(fresh, indent=1) + "\n").encode()}
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
    record = {"settings": config.scientific(load(root).config)}
    check_settings(record, config.scientific(asked), f"{root} and preset {preset}")


def _experiment(
    layout: Layout, resolved: ExperimentConfig, plan: bytes, record: IdentityRecord
) -> Experiment:
    names, labels = _read_plan(layout.plan, plan, resolved.architectures.number)
    return Experiment(
        layout=layout,
        config=resolved,
        identity=record["identity"],
        architectures=names,
        planned_labels=labels,
        data_digest=record["data"],
        open_other=load,
    )


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


def check_settings(record: Mapping[str, Any], settings: Mapping[str, Any], where: str) -> None:
    """Compare settings with those of the identity.

    Raises:
        ExperimentError: They differ; the keys and both values are named.
    """
    kept = record["settings"]
    keys = sorted(set(kept) | set(settings))
    differing = [
        f"{k} {kept.get(k)!r} -> {settings.get(k)!r}" for k in keys if kept.get(k) != settings.get(k)
    ]
    if differing:
        raise ExperimentError(
            f"{where}: not the experiment that was made here ({'; '.join(differing)}); "
            "change it back, or make another experiment"
        )


def identity_record(resolved: ExperimentConfig, plan: bytes, data_digest: str) -> IdentityRecord:
    """Return what decides results, and its hash."""
    settings, digest = config.scientific(resolved), hashlib.sha256(plan).hexdigest()
    identity = _hash({"settings": settings, "plan": digest, "data": data_digest})
    return {"identity": identity, "settings": settings, "plan": digest, "data": data_digest}


def known_labels(labels: LabelsConfig) -> dict[str, float] | None:
    """Return the labels known beforehand, by architecture string; None where they are trained."""
    if labels.source == "training":
        return None
    if labels.source == "table":
        return read_table(labels)
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


def _read_identity(path: Path) -> IdentityRecord:
    try:
        record: IdentityRecord = documents.load(path, IdentityRecord)
        version = int(record["settings"]["schema_version"])
        found = _hash({key: record[key] for key in ("settings", "plan", "data")})
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
        raise ExperimentError(f"{path} is damaged ({error!r}); restore it from a copy") from error
    if version > schema.VERSION:
        raise ExperimentError(
            f"{path}: schema version {version} is newer than {schema.VERSION}; update nap2-pipeline"
        )
    if record["identity"] != found:
        raise ExperimentError(
            f"{path} is damaged (not what {record['identity']} stands for); restore it from a copy"
        )
    return record


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
