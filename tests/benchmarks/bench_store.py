"""Side by side: one architecture x 23 snapshots as the paper's bz2 pickles and as this project's shards.

The paper saves `weights_stats_<id>.bz2` and `gradients_stats_<id>.bz2` (D.5): here, float64 maps
(snapshot, layer, value, feature) padded with zeros, as its feature maps are (B.6), pickled and compressed by bz2.
Reading is of everything, and of one snapshot, which the pickle cannot give without the rest.

Run from the repository's root: `PYTHONPATH=.:tests python tests/benchmarks/bench_store.py`.
"""

from __future__ import annotations

import bz2
import pickle
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from bench_statistics import snapshot

from pipeline.experiment import initialize
from stages.collect.stage import CollectStage
from stages.recording.statistics import StatisticsPlan, statistics
from storage_schema import schema
from storage_schema.write import ArchitectureWriter, object_path

SETTINGS = (
    "architectures.channels=16",
    "architectures.cells_per_stage=5",
    "architectures.number=1",
    "recording.interval=1",
    "recording.snapshots=23",
)


def rows() -> dict[str, Any]:
    """Statistics of 24 snapshots of the 98-layer network, by kind."""
    found: dict[str, list[Any]] = {kind: [] for kind in schema.KINDS}
    for k in range(24):
        for kind, tensors in zip(schema.KINDS, snapshot(k), strict=True):
            found[kind].append(statistics(tensors, StatisticsPlan.of(tensors)).numpy())
    return {kind: np.stack(maps) for kind, maps in found.items()}


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Best of some repeats."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Measure and print."""
    maps = rows()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        experiment = initialize(folder / "experiment", "demo", SETTINGS)
        CollectStage().prepare(experiment)
        path = experiment.layout.dynamics
        writer = ArchitectureWriter(path, 0)
        padded = {kind: np.nan_to_num(found[1:]) for kind, found in maps.items()}  # without the initial one
        single = {kind: found.astype(np.float32) for kind, found in maps.items()}
        for kind in schema.KINDS:
            single[kind][0] = np.nan  # the same 23 snapshots in both

        def write_pickles() -> None:
            for kind, found in padded.items():
                with bz2.open(folder / f"{kind}.bz2", "wb") as file:
                    pickle.dump(found, file)

        def read_pickles() -> None:
            for kind in padded:
                with bz2.open(folder / f"{kind}.bz2", "rb") as file:
                    pickle.load(file)

        def write_shards() -> None:
            for kind, found in single.items():
                writer.write(kind, found)

        group = zarr.open_group(path, mode="r")

        def read_shards() -> None:
            for kind in single:
                group[kind][0]

        def read_one() -> None:
            for kind in single:
                group[kind][0, 7]

        pairs = {
            "write": (seconds(write_pickles), seconds(write_shards)),
            "read all": (seconds(read_pickles), seconds(read_shards)),
            "read one snapshot": (seconds(read_pickles), seconds(read_one)),
        }
        old = sum((folder / f"{kind}.bz2").stat().st_size for kind in padded)
        new = sum(object_path(path, kind, 0).stat().st_size for kind in single)
        print(f"bytes  pickle {old / 1e6:.2f} MB   store {new / 1e6:.2f} MB   {100 * new / old:.0f} %")
        for what, (plain, ours) in pairs.items():
            print(f"{what}  pickle {plain * 1e3:.1f} ms   store {ours * 1e3:.1f} ms   {plain / ours:.0f}x")


if __name__ == "__main__":
    main()
