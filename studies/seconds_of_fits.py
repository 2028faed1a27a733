"""What learned methods cost: seconds of one core for a fit, by number of labels, and of a query, side by side.

    OMP_NUM_THREADS=1 PYTHONPATH=. .venv/bin/python studies/seconds_of_fits.py [SIZE ...]

Cells and labels are those of `nasbench201.csv.gz`. Losses, accuracies and proxies are drawn, about as much like the
label as real ones are: what a fit costs depends on how many there are, little on what they are.
"""

from __future__ import annotations

import csv
import gzip
import os
import sys
import time
from pathlib import Path

import numpy as np

from stages.baselines.method import Prefix
from stages.baselines.registry import METHODS
from stages.search_spaces.nasbench201.space import NASBench201
from stages.search_spaces.space import ImageTask
from stages.zero_cost.columns import COLUMNS

SHARED = Path(os.environ.get("NAP2_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
SPACE, TASK = NASBench201(16, 5), ImageTask(classes=10, image_size=32)
MINI_BATCHES, OBSERVATIONS, EPOCH = 2300, 23, 196
TESTED = 200


def main() -> None:
    """Print one line a method and size."""
    sizes = [int(text) for text in sys.argv[1:]] or [50, 700]
    with gzip.open(SHARED / "nasbench201.csv.gz", "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    random = np.random.default_rng(0)

    def prefix(some: list[dict[str, str]], labels: np.ndarray) -> Prefix:
        rise = 1 - 0.97 ** np.arange(1, OBSERVATIONS + 1)
        noisy = labels[:, None] + random.normal(0, 0.05, (len(some), OBSERVATIONS))
        return Prefix(
            architectures=tuple(row["arch_str"] for row in some),
            space=SPACE,
            task=TASK,
            training_loss=2.3 - labels[:, None] + random.normal(0, 0.3, (len(some), MINI_BATCHES)),
            validation_accuracy=np.clip(noisy * rise, 0, 1),
            epochs=np.arange(1, OBSERVATIONS + 1) * 100 / EPOCH,
            epoch_mini_batches=EPOCH,
            schedule_epochs=200,
            zero_cost={name: labels + random.normal(0, 0.1, len(some)) for name in COLUMNS},
        )

    for size in sizes:
        order = np.random.default_rng(1).permutation(len(rows))[: size + TESTED]
        labels = np.array([float(rows[i]["cifar10_test"]) / 100 for i in order])
        train, test = (
            prefix([rows[i] for i in order[part]], labels[part]) for part in (slice(size), slice(size, None))
        )
        for name in (name for name, method in METHODS.items() if method.learned):
            started = time.process_time()
            score = METHODS[name].fit(train, labels[:size], 0)
            fitted = time.process_time()
            score(test)
            query = (time.process_time() - fitted) / TESTED
            print(
                f"{name:24} {size:4} labels: fit {fitted - started:8.1f} s, query {1000 * query:6.2f} ms",
                flush=True,
            )


if __name__ == "__main__":
    main()
