r"""Side by side: learned hybrids and parameter count on published tables, with seconds of fitting.

    OMP_NUM_THREADS=1 PYTHONPATH=. .venv/bin/python studies/hybrids_beside_parameters.py \
        seminas|omni [SEEDS [SIZE ...]]

`seminas`: cells of `nasbench201.csv.gz` drawn uniformly, CIFAR-10, ranking 1,000 others. `omni`: the architectures
that `zero_cost_proxies.csv.gz` has too, the rest of which is ranked; their Jacobian covariance is that table's, and as
no table has early losses, minus the accuracy after a schedule of 12 epochs stands in for the loss of one epoch. The
interval is that of τ minus parameter count's, 95 %, paired, over tested architectures. "Permuted": fitted to labels
in random order.
"""

from __future__ import annotations

import csv
import gzip
import os
import sys
import time
from pathlib import Path

import numpy as np

from stages.baselines.method import Floats, Method, Prefix
from stages.baselines.methods.omni_ngb import OMNI_NGB
from stages.baselines.methods.omni_seminas import OMNI_SEMINAS
from stages.baselines.methods.seminas import SEMINAS
from stages.scoring.metrics import interval, kendall, resample_counts, resampled_kendall
from stages.search_spaces.nasbench201.space import NASBench201
from stages.search_spaces.space import ImageTask

SHARED = Path(os.environ.get("NAP2_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
SPACE, TASK = NASBench201(16, 5), ImageTask(classes=10, image_size=32)
TESTED = 1000
RESAMPLES = 1000

Row = dict[str, str]


def table(name: str) -> list[Row]:
    """Read a table of the shared data."""
    with gzip.open(SHARED / name, "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def numbers(rows: list[Row], name: str) -> Floats:
    """Return a column."""
    return np.array([float(row[name] or "nan") for row in rows])


def prefix(rows: list[Row]) -> Prefix:
    """Return what the tables know of networks."""
    return Prefix(
        architectures=tuple(row["arch_str"] for row in rows),
        space=SPACE,
        task=TASK,
        training_loss=-numbers(rows, "e12_cifar10_test")[:, None] / 100,
        validation_accuracy=np.full((len(rows), 0), np.nan),
        epochs=np.zeros(0),
        epoch_mini_batches=1,
        schedule_epochs=200,
        zero_cost={"jacov": numbers(rows, "cifar10_jacov")} if "cifar10_jacov" in rows[0] else {},
    )


def compare(method: Method, train: list[Row], test: list[Row], seed: int) -> None:
    """Print one line."""
    labels, truth = (numbers(rows, "cifar10_test") / 100 for rows in (train, test))
    started = time.process_time()
    score = method.fit(prefix(train), labels, seed)
    fitted = time.process_time()
    scores = score(prefix(test))
    asked = time.process_time()
    count = numbers(test, "params_m")
    counts = resample_counts(len(test), RESAMPLES, np.random.default_rng(seed))
    low, high = interval(resampled_kendall(scores, truth, counts) - resampled_kendall(count, truth, counts))
    permuted = method.fit(prefix(train), np.random.default_rng(seed).permutation(labels), seed)(prefix(test))
    print(
        f"{method.name:12} {len(train):4} labels, seed {seed}: τ {kendall(scores, truth):.3f}, "
        f"parameters {kendall(count, truth):.3f}, interval of the difference {low:+.3f} to {high:+.3f}, "
        f"permuted {kendall(permuted, truth):+.3f}, seconds: fit {fitted - started:.1f}, "
        f"query of {len(test)} {asked - fitted:.1f}",
        flush=True,
    )


def main() -> None:
    """Print one line a method, train size and seed."""
    which, *given = sys.argv[1:]
    seeds = int(given[0]) if given else 3
    sizes = [int(text) for text in given[1:]] or ([50, 200, 700] if which == "seminas" else [50, 200])
    rows, methods = table("nasbench201.csv.gz"), [SEMINAS]
    if which == "omni":
        known = {row["arch_index"]: row for row in table("zero_cost_proxies.csv.gz")}
        rows = [row | known[row["arch_index"]] for row in rows if row["arch_index"] in known]
        methods = [OMNI_SEMINAS, OMNI_NGB]
    for method in methods:
        for size in sizes:
            for seed in range(seeds):
                order = np.random.default_rng(seed).permutation(len(rows))
                train = [rows[i] for i in order[:size]]
                compare(method, train, [rows[i] for i in order[size : size + TESTED]], seed)


if __name__ == "__main__":
    main()
