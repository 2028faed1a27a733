"""How well learning curves order 100 real networks, cut off early, beside their last value.

    OMP_NUM_THREADS=1 PYTHONPATH=. .venv/bin/python studies/curves_beside_last_value.py [METHOD ...]

Prints Kendall's τ-b with the accuracy after 200 epochs: of methods that learn nothing, on all curves; mean ± deviation
over trials, of all methods on the curves that were not trained on; and the seconds of both. `METHODS` takes more.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from stages.baselines.method import Floats, Method, Prefix, UnmetNeedError
from stages.baselines.methods.early_stop import EARLY_STOP
from stages.baselines.methods.lce_m import LCE_M
from stages.scoring.metrics import kendall
from stages.search_spaces.nasbench201.space import NASBench201
from stages.search_spaces.space import ImageTask

CURVES = Path(__file__).parents[2] / "shared" / "data" / "learning_curves.npz"
EPOCHS: Final = (5, 10, 20, 50, 100)
TRAIN, TRIALS, SEED = 60, 10, 0
METHODS: dict[str, Method] = {"last value": EARLY_STOP, "LCE-m": LCE_M}


@dataclass(frozen=True)
class Curves:
    """Whole validation curves.

    Attributes:
        architectures: n architecture strings.
        accuracies: (n, epochs) fractions.
    """

    architectures: tuple[str, ...]
    accuracies: Floats

    @classmethod
    def read(cls, path: Path) -> Curves:
        """Read the 100 networks' (CIFAR-10, 25,000 training images, batches of 256)."""
        with np.load(path, allow_pickle=False) as arrays:
            names, percent = arrays["arch_str"], arrays["val_acc"]
        return cls(tuple(map(str, names)), percent.astype(np.float64) / 100)

    @property
    def labels(self) -> Floats:
        """(n,) the accuracies after the schedule."""
        labels: Floats = self.accuracies[:, -1]
        return labels

    def prefix(self, epochs: int, chosen: slice | list[int] = slice(None)) -> Prefix:
        """Return what is known after some epochs, of some networks; training losses are not."""
        accuracies = self.accuracies[chosen, :epochs]
        return Prefix(
            architectures=tuple(np.array(self.architectures)[chosen]),
            space=NASBench201(),
            task=ImageTask(classes=10, image_size=32),
            training_loss=np.empty((len(accuracies), 0)),
            validation_accuracy=accuracies,
            epochs=np.arange(1.0, epochs + 1),
            epoch_mini_batches=98,
            schedule_epochs=self.accuracies.shape[1],
        )


def splits(n: int, train: int = TRAIN, trials: int = TRIALS) -> Iterator[tuple[list[int], list[int]]]:
    """Draw which curves train and which test, for each trial."""
    for trial in range(trials):
        order = np.random.default_rng([SEED, trial]).permutation(n).tolist()
        yield order[:train], order[train:]


def taus(method: Method, curves: Curves, epochs: int) -> tuple[float, list[float]]:
    """Return τ over all curves, NaN if the method learns, and every trial's over the curves not trained on."""
    whole, found = curves.prefix(epochs), []
    once = None if method.learned else method.fit(whole, curves.labels, SEED)(whole)
    for trial, (train, test) in enumerate(splits(len(curves.labels))):
        if once is not None:
            scores = once[test]
        else:
            scorer = method.fit(curves.prefix(epochs, train), curves.labels[train], trial)
            scores = scorer(curves.prefix(epochs, test))
        found.append(kendall(scores, curves.labels[test]))
    return np.nan if once is None else kendall(once, curves.labels), found


def compare(methods: Mapping[str, Method], curves: Curves, prefixes: tuple[int, ...] = EPOCHS) -> None:
    """Print a line for every prefix and method, as soon as it is known."""
    print(f"{'epochs':>6} {'method':12} {'all curves':>10} {'test curves':>15} {'seconds':>8}", flush=True)
    for epochs in prefixes:
        for name, method in methods.items():
            began = time.perf_counter()
            try:
                whole, found = taus(method, curves, epochs)
            except UnmetNeedError as error:
                print(f"{epochs:6} {name:12} {error}", flush=True)
                continue
            test = f"{np.mean(found):.3f} ± {np.std(found, ddof=1):.3f}"
            seconds = time.perf_counter() - began
            print(f"{epochs:6} {name:12} {whole:10.3f} {test:>15} {seconds:8.1f}", flush=True)


def main() -> None:
    """Print the table of the methods named, or of all."""
    names = sys.argv[1:] or list(METHODS)
    compare({name: METHODS[name] for name in names}, Curves.read(CURVES))


if __name__ == "__main__":
    main()
