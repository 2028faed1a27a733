"""Whether what is on disk is what was computed: digests of all of it, and a sample trained again."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

from pipeline.execute import EXIT_DONE, execute
from stages.collect.stage import CollectStage
from stages.labels.stage import LabelsStage, label_digest
from stages.settings import ConfigError
from stages.stage import Experiment, Stage
from storage_schema import markers, schema
from storage_schema.layout import Layout
from storage_schema.read import open_dynamics
from storage_schema.write import file_digests


def verify_digests(
    experiment: Experiment, stage: Stage, indices: Sequence[int], progress: Callable[[], None]
) -> list[str]:
    """Compare the files of finished indices with their markers; returns one line for each that differs."""
    findings = []
    for index in indices:
        progress()
        path = experiment.layout.marker(stage.name, index)
        try:
            marker = markers.load(path)
        except markers.MarkerError as error:
            findings.append(str(error))
            continue
        if marker is None:
            continue
        where = f"{stage.name} {index}"
        again = f"delete {path} and run --stage {stage.name} --array {index}"
        if marker.identity != experiment.identity or marker.index != index or marker.stage != stage.name:
            findings.append(
                f"{where}: the marker is of {marker.stage} {marker.index}, {marker.identity}; {again}"
            )
            continue
        found = _digests(experiment, stage, index, marker)
        for name, digest in marker.digests.items():
            if found.get(name) != digest:
                state = "differs from its digest" if name in found else "is missing"
                findings.append(f"{where}: {name} {state}; {again}")
    return findings


def _digests(experiment: Experiment, stage: Stage, index: int, marker: markers.Marker) -> dict[str, str]:
    if isinstance(stage, LabelsStage):
        return {"label": label_digest(marker.result["label"])}
    return file_digests(experiment.layout.dynamics, index)


def choose_sample(done: Sequence[int], number: int, seed: int) -> list[int]:
    """Draw finished indices to train again.

    Raises:
        ConfigError: There are not so many.
    """
    if number > len(done):
        raise ConfigError(f"--sample {number} is more than the {len(done)} finished indices")
    return sorted(random.Random(seed).sample(list(done), number))


def verify_by_training(
    experiment: Experiment, indices: Sequence[int], progress: Callable[[], None]
) -> list[str]:
    """Train indices again, outside the experiment, and compare value by value; returns one line for each difference."""
    stage, findings = CollectStage(), []
    with tempfile.TemporaryDirectory(prefix="pipeline-verify-") as folder:
        again = replace(experiment, layout=Layout(Path(folder)))
        stage.prepare(again)
        for index in indices:
            if execute(again, stage, index) != EXIT_DONE:
                findings.append(f"collect {index}: could not be trained again")
                continue
            kept, new = (open_dynamics(each.layout.dynamics) for each in (experiment, again))
            difference = first_difference(kept.isel(architecture=index), new.isel(architecture=index))
            if difference:
                findings.append(f"collect {index}: {difference}")
            progress()
    return findings


def first_difference(kept: xr.Dataset, new: xr.Dataset) -> str | None:
    """Name the first value that differs: by snapshot, then layer, kind, statistic; then the curves."""
    for k in range(kept.sizes["snapshot"]):
        places = []
        for order, kind in enumerate(schema.KINDS):
            old, fresh = (each[kind].isel(snapshot=k).values for each in (kept, new))
            differs = np.argwhere(~((old == fresh) | (np.isnan(old) & np.isnan(fresh))))
            if len(differs):
                layer, value, feature = (int(i) for i in min(differs, key=lambda at: (at[0], at[2], at[1])))
                pair = (float(old[layer, value, feature]), float(fresh[layer, value, feature]))
                places.append((layer, order, kind, feature, value, pair))
        if places:
            layer, _, kind, feature, value, (was, now) = min(places)
            name = str(kept["layer_name"].values[layer])
            return (
                f"snapshot {k}, layer {layer} ({name}), {kind}, {schema.FEATURES[feature]}, value {value}: "
                f"stored {was!r}, trained again {now!r}"
            )
    old, fresh = kept["curves"].values, new["curves"].values
    at = np.argwhere(~((old == fresh) | (np.isnan(old) & np.isnan(fresh))))
    if not len(at):
        return None
    step, curve = (int(i) for i in at[0])
    pair = f"stored {old[step, curve]}, trained again {fresh[step, curve]}"
    return f"{schema.CURVES[curve]} of mini-batch {step + 1}: {pair}"
