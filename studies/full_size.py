"""What slim networks lose: the same architectures at full width and depth beside them.

    OMP_NUM_THREADS=1 PYTHONPATH=.:studies .venv/bin/python studies/full_size.py \\
        runs/c10-full runs/c10-small

Prints Kendall's τ-b with the labels over the architectures that both have collected, after as many mini-batches as
the first one has: of curves, and of extra-trees on summaries of the maps, each predicted by trees of the others.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import KFold, cross_val_predict
from trees_on_maps import features

from pipeline.experiment import load
from stages.recording.config import RecordingConfig
from stages.scoring.metrics import kendall
from storage_schema import markers, schema

REPEATS = 10


def out_of_fold(values: NDArray[np.float64], labels: NDArray[np.float64]) -> tuple[float, float]:
    """Return mean and deviation of τ over repeats of ten-fold predictions."""
    found = []
    for seed in range(REPEATS):
        trees = ExtraTreesRegressor(300, max_features=0.5, random_state=seed)
        folds = KFold(10, shuffle=True, random_state=seed)
        found.append(kendall(cross_val_predict(trees, values, labels, cv=folds), labels))
    return float(np.mean(found)), float(np.std(found, ddof=1))


def main() -> None:
    """Print one line a method and network size."""
    experiments = [load(Path(path)) for path in sys.argv[1:3]]
    places = [{name: i for i, name in enumerate(e.architectures)} for e in experiments]
    done = [markers.done_indices(e.layout.markers("collect")) for e in experiments]
    both = [name for name, i in places[0].items() if i in done[0] and places[1].get(name, -1) in done[1]]
    labels = np.array([experiments[0].planned_labels[places[0][name]] for name in both], np.float64)
    last = len(experiments[0].settings(RecordingConfig).steps) - 1
    step, losses = experiments[0].settings(RecordingConfig).steps[last], []
    print(
        f"{len(both)} architectures, {step} mini-batches; accuracy {labels.min():.3f} to {labels.max():.3f}"
    )
    for experiment, place in zip(experiments, places, strict=True):
        rows = [place[name] for name in both]
        store = xr.open_zarr(experiment.layout.dynamics, chunks=None).isel(architecture=rows)
        name = experiment.layout.root.name
        loss = store["curves"].sel(curve="training_loss").values
        losses.append(loss[:, step - 20 : step].mean(1))
        print(f"{name}: {'parameters':38} {kendall(store['parameters'].values.astype(float), labels):.3f}")
        print(f"{name}: {'- training loss, all so far':38} {kendall(-loss[:, :step].sum(1), labels):.3f}")
        print(f"{name}: {'- training loss, last 20':38} {kendall(-losses[-1], labels):.3f}")
        for kinds in (("weights",), ("gradients",), schema.KINDS):
            for snapshot in (0, last):
                mean, deviation = out_of_fold(features(store, kinds, snapshot), labels)
                what = f"trees on {' and '.join(kinds)}, snapshot {snapshot}"
                print(f"{name}: {what:38} {mean:.3f} ± {deviation:.3f}", flush=True)
    print(f"Spearman of the two sizes' losses, last 20: {spearmanr(*losses).statistic:.3f}")


if __name__ == "__main__":
    main()
