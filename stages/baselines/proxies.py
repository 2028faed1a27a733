"""Reading the store of zero-cost proxies, as far as it is computed with the settings of now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from stages.baselines.method import Floats, UnmetNeedError
from stages.experiment import Experiment
from stages.zero_cost.columns import store_settings
from stages.zero_cost.config import ZeroCostConfig
from storage_schema import schema, write
from storage_schema.read import StoreError, open_derived, reading


def read_scores(experiment: Experiment, architectures: Sequence[int]) -> Mapping[str, Floats]:
    """Return (n,) scores of some architectures by column, nothing where the stage has not run.

    Raises:
        UnmetNeedError: Some of the architectures have not been through the stage.
        StoreError: The store is damaged.
    """
    store = _open(experiment)
    if store is None:
        return {}
    with reading(experiment.layout.zero_cost):
        mine = store[["score", "provenance"]].isel(architecture=list(architectures)).load()
        missing = int((mine["provenance"] == "").sum())
        if missing:
            raise UnmetNeedError(
                f"zero-cost proxies of {missing} of {len(architectures)} architectures are missing: "
                "compute them by `run --stage zero-cost`"
            )
        scores = mine["score"].values
        if np.isnan(scores).all(axis=1).any():  # FLOPs at least every network has
            raise StoreError(
                f"{experiment.layout.zero_cost} is damaged: scores are gone; run `pipeline repair`"
            )
        return {str(name): scores[:, i] for i, name in enumerate(mine["proxy"].values)}


def mean_seconds(experiment: Experiment) -> dict[str, float]:
    """Return by column the mean seconds of the pass that gives it, nothing where the stage has not run."""
    store = _open(experiment)
    if store is None:
        return {}
    with reading(experiment.layout.zero_cost):
        mean = store["seconds"].mean("architecture").values
        return {str(name): float(value) for name, value in zip(store["proxy"].values, mean, strict=True)}


def state(experiment: Experiment) -> list[Any]:
    """Return what decides the scores: settings, and the digest of those that are gathered."""
    return [_settings(experiment), write.digest(experiment.layout.zero_cost / "score")]


def _open(experiment: Experiment) -> xr.Dataset | None:
    """Open the store; None where there is none with the settings of now."""
    path = experiment.layout.zero_cost
    if not (path / "zarr.json").is_file():
        return None
    store = open_derived(path, "zero-cost", schema.ZERO_COST)
    return store if store.attrs.get("settings") == _settings(experiment) else None


def _settings(experiment: Experiment) -> str:
    return store_settings(experiment.settings(ZeroCostConfig), experiment.identity)
