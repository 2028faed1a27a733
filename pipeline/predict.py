"""Ranking the architectures of one experiment by the frozen models of another (R18); labels play no part."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.experiment import load
from pipeline.identity import Identities
from pipeline.registry import STAGES
from stages.experiment import Experiment
from stages.nap2.feature_maps.config import InputsConfig
from stages.nap2.feature_maps.variants import find
from stages.nap2.models import plan
from stages.nap2.models.plan import ModelKey
from stages.recording.config import RecordingConfig
from stages.settings import ConfigError
from stages.splits.config import SplitsConfig
from storage_schema import durable
from storage_schema.errors import UserError
from storage_schema.read import written


class PredictError(UserError, ValueError):
    """A model or a target that cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """One trained model of an experiment."""

    source: Experiment
    key: ModelKey


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Architectures, best first.

    Attributes:
        facts: Of the model, and how many architectures were left out.
        rows: rank, index, architecture, score.
    """

    facts: dict[str, Any]
    rows: list[dict[str, Any]]


def find_model(using: str, size: str | None, variant: str) -> Model:
    """Return the model that `--using SOURCE[/trial]` names.

    Raises:
        PredictError: It has no such trial, size or variant, or is not trained with its settings of now.
    """
    path, trial = Path(using), 0
    if not (path / "experiment.toml").is_file() and path.name.isdecimal():
        path, trial = path.parent, int(path.name)
    source = load(path)
    settings = source.settings
    seen = find(variant)
    if seen is None or seen not in settings(InputsConfig).chosen:
        raise PredictError(f"--variant {variant}: {path} has {settings(InputsConfig).variants}")
    sizes = settings(SplitsConfig).train_sizes
    if size is not None and size not in sizes:
        raise PredictError(f"--size {size}: {path} has {', '.join(sizes)}")
    if trial >= settings(SplitsConfig).num_trials:
        raise PredictError(f"--using {using}: {path} has trials 0-{settings(SplitsConfig).num_trials - 1}")
    key = ModelKey(seen, trial, size or sizes[-1])
    index = plan.predictors(settings).index(key)
    if not Identities(source).done(STAGES["bigru"], index):
        raise PredictError(
            f"{path}: model {key} is not trained with its settings of now; "
            f"run: pipeline run --experiment {path} --stage all"
        )
    return Model(source=source, key=key)


def rank(target: Experiment, model: Model, snapshots: int | None) -> Ranking:
    """Score every architecture that has the snapshots, and order them.

    Raises:
        PredictError: The target has not so many snapshots, or no architecture has them.
        ModelError: The model is damaged or does not fit the target.
    """
    from stages.nap2.models.predict import most_snapshots, predict

    most = target.settings(RecordingConfig).snapshots
    count = most if snapshots is None else snapshots
    if count > most:
        raise PredictError(f"--snapshots {count}: {target.layout.root} has {most}")
    count = min(count, most_snapshots(target, model.key))
    there = np.asarray(written(target.layout.dynamics)[:, : count + 1].all(axis=1))
    usable = [int(index) for index in np.flatnonzero(there)]
    if not usable:
        raise PredictError(
            f"{target.layout.root}: no architecture has {count} snapshots yet; run --stage collect"
        )
    scores = predict(model.source, model.key, target, usable, count)[:, -1]
    best = sorted(zip(usable, scores.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
    rows = [
        {"rank": position + 1, "index": index, "score": score, "architecture": target.architectures[index]}
        for position, (index, score) in enumerate(best)
    ]
    facts = {
        "model": f"{model.source.layout.root} {model.key}",
        "snapshots": count,
        "mini_batches": target.settings(RecordingConfig).steps[count],
        "architectures": len(rows),
        "not_collected_yet": len(there) - len(rows),
    }
    return Ranking(facts=facts, rows=rows)


def write(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write a ranking as CSV or Parquet, by the suffix.

    Raises:
        ConfigError: Another suffix, or Parquet without pyarrow.
    """
    if path.suffix == ".csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        durable.write(path, text.getvalue().encode())
    elif path.suffix == ".parquet":
        if importlib.util.find_spec("pyarrow") is None:
            raise ConfigError(f"--out {path} needs pyarrow; pip install nap2-pipeline[parquet], or use .csv")
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pylist(list(rows))
        durable.write(path, lambda file: pq.write_table(table, file))
    else:
        raise ConfigError(f"--out {path}: unknown suffix {path.suffix!r}; use .csv or .parquet")
