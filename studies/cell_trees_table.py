"""Cell trees beside the specification's figures, on NAS-Bench-201's published accuracies: 200 test architectures.

    OMP_NUM_THREADS=1 PYTHONPATH=. .venv/bin/python studies/cell_trees_table.py [TRIALS]

No network is trained. τ is the mean over trials (5) and its deviation; beside it the specification's figure, τ with the
test set's isomorphic twins left out of training, and τ after the training labels were permuted, which has to be near 0.
"""

from __future__ import annotations

import csv
import gzip
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from stages.baselines.methods.cell_trees import CellTrees
from stages.scoring.metrics import kendall
from stages.search_spaces.nasbench201.cell_features import cell_feature_matrix
from stages.search_spaces.nasbench201.genotype import Genotype, canonical_form

SHARED = Path(os.environ.get("NAP2_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
TEST = 200
SIZES = (50, 100, 300, 700)
DATA = ("cifar10", "cifar100", "imagenet16")
COLUMNS = {
    ("cifar10", "cifar10"): (0.710, 0.761, 0.854, 0.889),
    ("cifar100", "cifar100"): (0.707, 0.753, 0.844, 0.882),
    ("imagenet16", "imagenet16"): (0.707, 0.764, 0.842, 0.886),
    ("cifar100", "cifar10"): (0.729, 0.767, 0.845, 0.868),
    ("cifar10", "cifar100"): (0.673, 0.726, 0.808, 0.843),
    ("cifar10", "imagenet16"): (0.669, 0.724, 0.793, 0.818),
    ("imagenet16", "cifar100"): (0.679, 0.723, 0.788, 0.814),
}
"""τ by source and target, for each of `SIZES`."""


def read() -> tuple[list[str], dict[str, Any]]:
    """Read architectures and their accuracies by data set."""
    with gzip.open(SHARED / "nasbench201.csv.gz", "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row["arch_str"] for row in rows], {
        data: np.array([float(row[f"{data}_test"]) for row in rows]) for data in DATA
    }


def draw(forms: list[str], size: int, seed: int) -> tuple[Any, Any, Any]:
    """Draw positions: test, train, and a train set of the same size without twins of the test set."""
    order = np.random.default_rng(seed).permutation(len(forms))
    test, rest = order[:TEST], order[TEST:]
    tested = {forms[i] for i in test}
    return test, rest[:size], np.array([i for i in rest if forms[i] not in tested][:size])


def trial(
    features: Any, accuracies: dict[str, Any], sets: tuple[Any, Any, Any], seed: int
) -> dict[Any, float]:
    """Return τ by (source, target, "" or what was changed)."""
    test, train, twinless = sets
    found = {}
    for source in DATA:
        labels = accuracies[source]
        shuffled = np.random.default_rng(seed).permutation(labels[train])
        for change, chosen, fitted in (
            ("", train, labels[train]),
            ("twins", twinless, labels[twinless]),
            ("permuted", train, shuffled),
        ):
            scores = CellTrees.fit(features[chosen], fitted, seed).predict(features[test])
            for target in DATA:
                found[source, target, change] = kendall(scores, accuracies[target][test])
    return found


def main() -> None:
    """Print a line a train size and pair of source and target."""
    trials, started = int(sys.argv[1]) if sys.argv[1:] else 5, time.process_time()
    names, accuracies = read()
    features, forms = cell_feature_matrix(names), [canonical_form(Genotype.parse(name)) for name in names]
    print(f"features of {len(names)} cells: {time.process_time() - started:.1f} s")
    print("labels  from → to                 τ ± std     reference  difference  without twins  permuted")
    largest = 0.0
    for row, size in enumerate(SIZES):
        seeds = range(42, 42 + trials)
        all_found = [trial(features, accuracies, draw(forms, size, seed), seed) for seed in seeds]
        for (source, target), figures in COLUMNS.items():
            values = {
                change: np.array([found[source, target, change] for found in all_found])
                for change in ("", "twins", "permuted")
            }
            mean, published = values[""].mean(), figures[row]
            largest = max(largest, abs(mean - published))
            print(
                f"{size:6}  {source:>10} → {target:10} {mean:7.3f} ± {values[''].std(ddof=1):.3f} {published:9.3f} "
                f"{mean - published:+11.3f} {values['twins'].mean():14.3f} "
                f"{values['permuted'].mean():+9.3f} ± {values['permuted'].std(ddof=1):.3f}",
                flush=True,
            )
    print(f"largest difference {largest:.3f}; {time.process_time() - started:.0f} s of one core")


if __name__ == "__main__":
    main()
