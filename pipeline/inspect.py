"""One architecture at a glance: its statistics and curves over snapshots, as a table or a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.registry import STAGES
from pipeline.status import stage_status
from stages.experiment import Experiment
from stages.settings import ConfigError
from storage_schema import markers
from storage_schema.read import open_dynamics, reading

if TYPE_CHECKING:
    import xarray as xr

STATISTICS = ("mean", "std", "kurtosis", "l2")


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What is known of one architecture.

    Attributes:
        facts: Architecture, state of its collection, label, parameters, FLOPs, layers.
        rows: One for each written snapshot: step, losses, accuracy, and statistics.
    """

    facts: dict[str, Any]
    rows: list[dict[str, float]]


def inspect(experiment: Experiment, index: int, kind: str, layer: str | None = None) -> Inspection:
    """Read one architecture's entry.

    Args:
        experiment: The experiment.
        index: Position in the plan.
        kind: `weights` or `gradients`.
        layer: Position or name of a layer; None is the mean over reachable layers.

    Raises:
        ConfigError: There is no such index, kind or layer.
        StoreError: The store is damaged.
    """
    one = _entry(experiment, index, kind)
    with reading(experiment.layout.dynamics):
        return _inspection(experiment, one, index, kind, layer)


def _inspection(
    experiment: Experiment, one: xr.Dataset, index: int, kind: str, layer: str | None
) -> Inspection:
    count = int(one["layers"])
    names = [str(name) for name in one["layer_name"].values[:count]]
    chosen = np.flatnonzero(one["reachable"].values[:count]) if layer is None else [_layer(layer, names)]
    facts = {
        "index": index,
        "architecture": str(one["architecture"].values),
        "state": state(experiment, index),
        "label": label(experiment, index),
        "parameters": int(one["parameters"]),
        "flops": int(one["flops"]),
        "layers": count,
        "shown": f"{kind}, {'mean over reachable layers' if layer is None else names[chosen[0]]}",
    }
    curves = one["curves"].load()
    steps = [int(step) for step in one["step"].values]
    rows = []
    for k, step in enumerate(steps):
        at = curves.sel(mini_batch=step)
        if np.isnan(at.sel(curve="written")):
            continue
        since = curves.sel(curve="training_loss", mini_batch=slice(steps[k - 1] + 1 if k > 1 else 1, step))
        # A loss that is not finite makes the mean so: a diverged network is to look like one (R11).
        row = {"snapshot": k, "step": step, "training_loss": float(since.mean(skipna=False))}
        row |= {name: float(at.sel(curve=name)) for name in ("validation_loss", "validation_accuracy")}
        values = one[kind].isel(snapshot=k, value=0, layer=chosen).load()
        row |= {name: float(values.sel(feature=name).mean()) for name in STATISTICS}
        rows.append(row)
    return Inspection(facts=facts, rows=rows)


def state(experiment: Experiment, index: int) -> str:
    """Return how far the collection of an index is: done, running, partial, failed or missing."""
    found = stage_status(experiment, STAGES["collect"]).indices
    return next(name for name, indices in found.items() if index in indices)


def label(experiment: Experiment, index: int) -> float | None:
    """Return the label of the plan, else the one trained here, else None."""
    planned = experiment.planned_labels[index]
    if planned is not None:
        return planned
    marker = markers.load(experiment.layout.marker("labels", index))
    return None if marker is None else marker.result.get("label")


def plot(experiment: Experiment, index: int, kind: str, file: Path) -> None:
    """Draw losses, validation accuracy and each layer's norm over snapshots; the suffix chooses the format.

    Raises:
        ConfigError: There is no such index or kind, nothing is written yet, or the format is unknown.
    """
    from matplotlib.figure import Figure

    one = _entry(experiment, index, kind)
    with reading(experiment.layout.dynamics):
        curves, steps, count = one["curves"].load(), one["step"].values, int(one["layers"])
        norms = one[kind].isel(value=0, layer=slice(count)).sel(feature="l2").load().values
    if np.isnan(norms).all():
        raise ConfigError(
            f"index {index} has no snapshot yet; run: pipeline run --stage collect --array {index}"
        )
    figure = Figure(figsize=(12, 4), layout="constrained")
    loss, accuracy, heat = figure.subplots(1, 3)
    loss.plot(curves["mini_batch"], curves.sel(curve="training_loss"), linewidth=0.8, label="training")
    loss.plot(steps, curves.sel(curve="validation_loss", mini_batch=steps), "o-", label="validation")
    loss.set(xlabel="mini-batch", ylabel="loss (nats)")
    loss.legend()
    accuracy.plot(steps, curves.sel(curve="validation_accuracy", mini_batch=steps), "o-")
    accuracy.set(xlabel="mini-batch", ylabel="validation accuracy")
    with np.errstate(divide="ignore"):
        image = heat.imshow(np.log10(norms.T), aspect="auto", origin="lower", interpolation="nearest")
    heat.set(xlabel="snapshot", ylabel="layer", title=f"log10 of the l2 norm, {kind}")
    figure.colorbar(image, ax=heat)
    figure.suptitle(f"{index}: {one['architecture'].values}", fontsize=9)
    try:
        figure.savefig(file, dpi=110)
    except ValueError as error:
        raise ConfigError(f"{file}: {error}") from error


def _entry(experiment: Experiment, index: int, kind: str) -> xr.Dataset:
    if not 0 <= index < len(experiment.architectures):
        raise ConfigError(f"index {index} is out of range: only 0-{len(experiment.architectures) - 1} exist")
    if kind not in ("weights", "gradients"):
        raise ConfigError(f"unknown kind {kind!r}; use weights or gradients")
    return open_dynamics(experiment.layout.dynamics).isel(architecture=index)


def _layer(text: str, names: list[str]) -> int:
    if text in names:
        return names.index(text)
    if text.isdecimal() and len(text) < 10 and int(text) < len(names):
        return int(text)
    raise ConfigError(f"no layer {text!r}; use 0-{len(names) - 1} or a name such as {names[0]}")
