"""Cost of recording beside the training it accompanies, and the memory of a worker, at full size.

The largest network (all 3x3, C=16, N=5) on CIFAR-10 at 32x32 with mini-batches of 256: a few mini-batches are
timed, an interval is 100 of them. Recording is what a snapshot adds: statistics, shards, curves and checkpoint.

Run from the repository's root, with NAP2_DATA_ROOT set: `python tests/benchmarks/bench_collect.py`.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from pipeline.experiment import initialize
from stages.collect.collect import Collection
from stages.collect.stage import CollectStage
from stages.experiment import Experiment
from stages.stage import Execution

ALL_3X3 = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
MINI_BATCHES = 3


def experiment(folder: Path) -> Experiment:
    """A `cifar10` experiment of the largest network alone."""
    settings = ("architectures.number=1", 'labels.source="training"')
    made = initialize(folder / "experiment", "cifar10", settings)
    return replace(made, architectures=(ALL_3X3,))


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        made = experiment(Path(name))
        CollectStage().prepare(made)
        execution = Execution(
            identity=made.identity,
            should_stop=lambda: False,
            guard=nullcontext,
            progress=lambda share, note="": None,
        )
        collection = Collection(made, 0, execution)
        collection._mini_batch(2)  # warms up; no snapshot is due
        start = time.perf_counter()
        for step in range(3, 3 + MINI_BATCHES):
            collection._mini_batch(step)
        interval = 100 * (time.perf_counter() - start) / MINI_BATCHES
        start = time.perf_counter()
        collection._recorder.record(1)
        statistics = time.perf_counter() - start
        for k in range(2, 24):
            for rows in collection._recorder.maps.values():
                rows[k] = rows[1]  # the last, most expensive flush: every snapshot is there
        start = time.perf_counter()
        collection._recorder.flush(collection._writer)
        flush = time.perf_counter() - start
        start = time.perf_counter()
        collection._save()
        save = time.perf_counter() - start
    total = statistics + flush + save
    print(f"interval of 100 mini-batches {interval:8.1f} s")
    print(
        f"statistics {statistics:6.3f} s   shards {flush:6.3f} s   checkpoint {save:6.3f} s   together {total:6.3f} s"
    )
    print(f"recording / interval {100 * total / interval:.2f} %")
    print(f"peak memory of the worker {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "pipeline", "--help"], check=True, capture_output=True)
    print(f"pipeline --help {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
