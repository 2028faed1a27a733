"""Side by side: LcSVR and the last value of the curve, on 100 real curves of 200 epochs.

    OMP_NUM_THREADS=1 PYTHONPATH=. .venv/bin/python studies/lcsvr_beside_last_value.py [SEEDS [DRAWS]]

Each seed draws 60 curves of `learning_curves.npz` to learn from and 40 to be ranked by their final validation
accuracy. The last line of numbers is τ of LcSVR minus τ of the last value, and its standard error over seeds,
which share curves, so it is too small.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

from stages.baselines.method import Floats, Prefix
from stages.baselines.methods.lcsvr import DRAWS, fit
from stages.scoring.metrics import kendall
from stages.search_spaces.nasbench201.space import NASBench201
from stages.search_spaces.space import ImageTask

SHARED = Path(os.environ.get("NAP2_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
SPACE, TASK = NASBench201(16, 5), ImageTask(classes=10, image_size=32)
EPOCHS = (5, 10, 20, 50, 100)
TRAIN = 60


def prefix(names: list[str], curves: Floats) -> Prefix:
    """Return the first epochs of curves, one observation an epoch."""
    return Prefix(
        architectures=tuple(names),
        space=SPACE,
        task=TASK,
        training_loss=np.full((len(names), 0), np.nan),
        validation_accuracy=curves,
        epochs=np.arange(1.0, 1 + curves.shape[1]),
        epoch_mini_batches=98,
        schedule_epochs=200,
    )


def main() -> None:
    """Print one line an epoch."""
    seeds, draws = (int(text) for text in (sys.argv[1:] + ["10", str(DRAWS)][len(sys.argv) - 1 :]))
    with np.load(SHARED / "learning_curves.npz") as file:
        names, curves = file["arch_str"].tolist(), file["val_acc"].astype(np.float64) / 100
    labels = curves[:, -1]
    print(f"{seeds} seeds, {draws} draws, {TRAIN} training curves")
    print("epochs   last value       LcSVR            difference (standard error)  seconds of a fit")
    for epochs in EPOCHS:
        found = []
        for seed in range(seeds):
            order = np.random.default_rng(seed).permutation(len(names))
            train, test = (
                (prefix([names[i] for i in rows], curves[rows, :epochs]), labels[rows])
                for rows in (order[:TRAIN], order[TRAIN:])
            )
            started = time.process_time()
            score = fit(*train, seed, draws=draws)
            seconds = time.process_time() - started
            last = test[0].validation_accuracy[:, -1]
            found.append((kendall(last, test[1]), kendall(score(test[0]), test[1]), seconds))
        last_taus, taus, spent = np.array(found).T
        change = taus - last_taus
        print(
            f"{epochs:6} {last_taus.mean():7.3f} ± {last_taus.std(ddof=1):.3f} "
            f"{taus.mean():7.3f} ± {taus.std(ddof=1):.3f} "
            f"{change.mean():+10.3f} ({change.std(ddof=1) / np.sqrt(seeds):.3f}) {spent.mean():24.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
