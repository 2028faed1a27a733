"""What an experiment's maps know without any network: extra-trees on summaries of them, and curves, by fold.

    OMP_NUM_THREADS=1 PYTHONPATH=. .venv/bin/python studies/trees_on_maps.py runs/c10-small

Prints Kendall's τ-b with the labels, mean ± deviation over trials, of all test networks and of their upper half.
With a second experiment, trees of the first one's training networks are asked for the second one's test networks.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.ensemble import ExtraTreesRegressor

from pipeline.experiment import load
from stages.experiment import Experiment
from stages.scoring.metrics import kendall, upper_half
from stages.splits.config import SplitsConfig
from storage_schema import schema, splits
from storage_schema.read import normalized

LABELS = (20, 35, 70, 140)


def summaries(store: xr.Dataset, kind: str, snapshot: int) -> NDArray[np.float64]:
    """Return (architecture, value): mean, deviation, median and extremes over layers, first and last layer."""
    found = []
    for index, count in enumerate(store["layers"].values):
        layers = min(int(count), schema.LAYER_CAP)
        maps = normalized(store[kind].isel(architecture=index, snapshot=snapshot).values[:layers])
        rows = np.concatenate([maps[:, 0, :11], maps[:, :5, 11]], axis=1)  # the layer's own values
        parts = [rows.mean(0), rows.std(0), np.median(rows, 0), rows.min(0), rows.max(0), rows[0], rows[-1]]
        found.append(np.concatenate(parts))
    return np.array(found, np.float64)


def features(store: xr.Dataset, kinds: tuple[str, ...], snapshot: int) -> NDArray[np.float64]:
    """Return (architecture, value): the summaries of some kinds side by side."""
    return np.hstack([summaries(store, kind, snapshot) for kind in kinds])


def transfer(source: Experiment, target: Experiment) -> None:
    """Print what frozen trees on the same summaries reach, the values themselves and their ranks within a store."""
    stores = [xr.open_zarr(e.layout.dynamics, chunks=None) for e in (source, target)]
    last = stores[0].sizes["snapshot"] - 1
    for snapshot in (0, 1, last):
        for kinds in (("weights",), ("gradients",), schema.KINDS):
            theirs, mine = (features(store, kinds, snapshot) for store in stores)
            for name, one, two in (("values", theirs, mine), ("ranks", ranked(theirs), ranked(mine))):
                found = []
                for trial in range(source.settings(SplitsConfig).num_trials):
                    learnt, asked = (splits.read(e.layout.split(trial)) for e in (source, target))
                    model = ExtraTreesRegressor(300, max_features=0.5, random_state=0)
                    train, test = list(learnt.train["all"]), list(asked.test)
                    model.fit(one[train], [learnt.labels[i] for i in train])
                    labels = np.array([asked.labels[i] for i in test])
                    found.append(kendall(model.predict(two[test]), labels))
                what = f"trees on {name} of {' and '.join(kinds)}, snapshot {snapshot}"
                print(f"{what:52} {np.mean(found):.3f} ± {np.std(found, ddof=1):.3f}", flush=True)


def ranked(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each column's ranks, 0 to 1: what is left when a data set shifts and stretches a statistic."""
    return np.asarray(rankdata(values, axis=0) / len(values))


def main() -> None:
    """Print one line a method."""
    experiment: Experiment = load(Path(sys.argv[1]))
    if len(sys.argv) > 2:
        transfer(experiment, load(Path(sys.argv[2])))
        return
    store = xr.open_zarr(experiment.layout.dynamics, chunks=None)
    trials = [
        splits.read(experiment.layout.split(trial), len(experiment.architectures))
        for trial in range(experiment.settings(SplitsConfig).num_trials)
    ]

    def tell(name: str, scores: NDArray[Any]) -> None:
        whole, upper = [], []
        for split in trials:
            labels = np.array([split.labels[i] for i in split.test])
            keep, mine = upper_half(labels), scores[list(split.test)]
            whole.append(kendall(mine, labels))
            upper.append(kendall(mine[keep], labels[keep]))
        texts = [f"{np.mean(taus):.3f} ± {np.std(taus, ddof=1):.3f}" for taus in (whole, upper)]
        print(f"{name:44} {texts[0]}   upper half {texts[1]}", flush=True)

    def trees(features: NDArray[Any], labels: int | None = None) -> NDArray[Any]:
        scores = np.full(len(features), np.nan)
        for split in trials:
            train = list(split.train["all"][:labels])
            model = ExtraTreesRegressor(300, max_features=0.5, random_state=0)
            model.fit(features[train], [split.labels[i] for i in train])
            test = list(split.test)
            scores[test] = model.predict(features[test])
        return scores

    last = store.sizes["snapshot"] - 1
    loss = store["curves"].sel(curve="training_loss").values
    for step in store["step"].values[1:]:
        tell(f"- training loss, last 100 of {step}", -loss[:, max(0, step - 100) : step].mean(1))
    shape = np.stack([store[name].values for name in ("parameters", "flops", "layers")], axis=1)
    both = {}
    for snapshot in (0, 1, last):
        parts = {kind: summaries(store, kind, snapshot) for kind in schema.KINDS}
        both[snapshot] = np.hstack(list(parts.values()))
        for kind, part in parts.items():
            tell(f"trees on {kind}, snapshot {snapshot}", trees(part))
        tell(f"trees on both, snapshot {snapshot}", trees(both[snapshot]))
        tell(f"trees on both and shape, snapshot {snapshot}", trees(np.hstack([both[snapshot], shape])))
    tell(f"trees on both, snapshot {last} minus initial", trees(both[last] - both[0]))
    for labels in LABELS:
        tell(f"trees on both, snapshot {last}, {labels} labels", trees(both[last], labels))


if __name__ == "__main__":
    main()
