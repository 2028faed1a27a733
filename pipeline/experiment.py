"""The experiment directory: making one from a preset, and opening it again."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import config
from stages.architectures.sample import draw
from stages.datasets.load import content_digest
from stages.labels.config import LabelsConfig
from stages.labels.table import read_table
from stages.stage import Experiment, ExperimentConfig
from storage_schema import durable, schema
from storage_schema.errors import UserError
from storage_schema.layout import Layout


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
    resolved = config.resolve(config.with_settings(config.preset(preset), settings))
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ExperimentError(f"{root} exists and is not empty; choose another directory")
    data_digest = content_digest(resolved.data)
    labels = known_labels(resolved.labels)
    names = draw(resolved.architectures, labels, resolved.data.name)
    plan = _plan_csv(names, labels)
    temporary = root.with_name(f"{root.name}.{uuid.uuid4().hex[:8]}{durable.PARTIAL}")
    try:
        layout = Layout(temporary)
        durable.write(layout.config, config.to_toml(resolved, preset).encode())
        durable.write(layout.plan, plan)
        durable.write_json(layout.identity, identity_record(resolved, plan, data_digest))
        temporary.rename(root)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    durable.sync_folder(root.parent)
    return load(root)


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
    resolved = config.read(layout.config)
    record = _read_identity(layout.identity)
    check_settings(record, config.scientific(resolved), str(layout.config))
    plan = layout.plan.read_bytes() if layout.plan.is_file() else b""
    if hashlib.sha256(plan).hexdigest() != record["plan"]:
        raise ExperimentError(f"{layout.plan} is not the plan the experiment was made with; restore it")
    rows = list(csv.DictReader(io.StringIO(plan.decode())))
    return Experiment(
        layout=layout,
        config=resolved,
        identity=record["identity"],
        architectures=tuple(row["architecture"] for row in rows),
        planned_labels=tuple(float(row["label"]) if row["label"] else None for row in rows),
        data_digest=record["data"],
    )


def check_settings(record: Mapping[str, Any], settings: Mapping[str, Any], where: str) -> None:
    """Compare settings with those of the identity.

    Raises:
        ExperimentError: They differ; the keys and both values are named. Or the schema is newer than this code.
    """
    kept = record["settings"]
    if kept.get("schema_version", 0) > schema.VERSION:
        raise ExperimentError(
            f"{where}: schema version {kept['schema_version']} is newer than {schema.VERSION}; update nap2-pipeline"
        )
    keys = sorted(set(kept) | set(settings))
    differing = [
        f"{k} {kept.get(k)!r} -> {settings.get(k)!r}" for k in keys if kept.get(k) != settings.get(k)
    ]
    if differing:
        raise ExperimentError(
            f"{where}: not the experiment that was made here ({'; '.join(differing)}); "
            "change it back, or make another experiment"
        )


def identity_record(resolved: ExperimentConfig, plan: bytes, data_digest: str) -> dict[str, Any]:
    """Return what decides results, and its hash."""
    content = {
        "settings": config.scientific(resolved),
        "plan": hashlib.sha256(plan).hexdigest(),
        "data": data_digest,
    }
    text = json.dumps(content, sort_keys=True)
    return {"identity": hashlib.sha256(text.encode()).hexdigest()[:16], **content}


def known_labels(labels: LabelsConfig) -> dict[str, float] | None:
    """Return the labels known beforehand, by architecture string; None where they are trained."""
    if labels.source == "training":
        return None
    if labels.source == "table":
        return read_table(labels)
    from stages.labels.nasbench201_api import read_api_file

    return read_api_file(labels.path(), labels.column)


def _plan_csv(names: Sequence[str], labels: Mapping[str, float] | None) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("index", "architecture", "label"))
    for index, name in enumerate(names):
        writer.writerow((index, name, "" if labels is None else repr(labels[name])))
    return text.getvalue().encode()


def _read_identity(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
        record["identity"], record["settings"], record["plan"], record["data"]
    except (ValueError, KeyError, TypeError) as error:
        raise ExperimentError(f"{path} is damaged ({error!r}); restore it from a copy") from error
    return record
