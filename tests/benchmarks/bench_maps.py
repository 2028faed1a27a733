"""Side by side: an autoencoder's batches from the store, shuffled and read ahead, and from maps held in memory.

The store has 700 architectures of 98 layers with 23 snapshots, as in the paper; their files are links to a few real
ones. Both ways train on the same maps, a part of the epoch that its 700 x 23 pairs are shuffled into, several times:
in the first epoch maps are decoded, later ones find them in the temporary file. Each way runs in a process of its own,
so that its peak memory is its own.

Run from the repository's root: `PYTHONPATH=.:tests python tests/benchmarks/bench_maps.py`.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_store import rows
from numpy.typing import NDArray

from pipeline.experiment import initialize, load
from stages.collect.stage import CollectStage
from stages.nap2.feature_maps.maps import Maps, grouped
from stages.nap2.feature_maps.variants import VARIANTS
from stages.nap2.models.autoencoder import Autoencoder, reconstruction_loss
from storage_schema import schema
from storage_schema.write import ArchitectureWriter, object_path

NETWORKS, DISTINCT, BATCHES, EPOCHS = 700, 4, 30, 4
ALL_3X3 = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
SETTINGS = (
    "architectures.channels=16",
    "architectures.cells_per_stage=5",
    f"architectures.number={NETWORKS}",
    "recording.interval=1",
    "recording.snapshots=23",
)


def make_store(root: Path) -> None:
    """Fill a store of the paper's size; every architecture is the deepest network."""
    experiment = initialize(root, "demo", SETTINGS)
    experiment = replace(experiment, architectures=(ALL_3X3,) * NETWORKS)
    CollectStage().prepare(experiment)
    path, maps = experiment.layout.dynamics, rows()
    for index in range(DISTINCT):
        writer = ArchitectureWriter(path, index)
        for kind in schema.KINDS:
            writer.write(kind, maps[kind].astype(np.float32) * (1 + index))
    for kind in schema.KINDS:
        for index in range(DISTINCT, NETWORKS):
            link = object_path(path, kind, index)
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(object_path(path, kind, index % DISTINCT), link)


def train(batches: Iterable[NDArray[np.float32]], network: Autoencoder, optimizer: Any) -> float:
    """Take a step for each batch; returns seconds."""
    start = time.perf_counter()
    for batch in batches:
        maps = torch.from_numpy(batch).permute(0, 2, 1, 3)
        optimizer.zero_grad(set_to_none=True)
        reconstruction_loss(network(maps), maps).backward()
        optimizer.step()
    return time.perf_counter() - start


def measure(root: Path, way: str) -> None:
    """Print seconds of the first epoch and the best later one, and peak memory, as JSON."""
    torch.set_num_threads(1)
    experiment = load(root)
    maps = Maps(
        experiment.layout.dynamics,
        "weights",
        VARIANTS["maps"],
        experiment.architectures,
        scratch_megabytes=8000,
    )
    pairs = maps.pairs(range(NETWORKS))
    order = np.random.default_rng(0).permutation(len(pairs))
    groups = grouped([pairs[i] for i in order], 32)
    network = Autoencoder()
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    part, held = groups[:BATCHES], []
    if way == "memory":
        held = [maps.batch(group) for group in part]
    train(held[:3] or maps.batches(groups[BATCHES : BATCHES + 3]), network, optimizer)  # warm up
    epochs = [train(held or maps.batches(part), network, optimizer) for _ in range(EPOCHS)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"first": epochs[0], "later": min(epochs[1:]), "peak": peak}))


def main() -> None:
    """Measure both ways, each in a process of its own, and print."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "experiment"
        make_store(root)
        found = {}
        for way in ("memory", "store"):
            command = [sys.executable, __file__, str(root), way]
            found[way] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        memory, store = found["memory"], found["store"]
        print(f"{BATCHES} batches of 32 maps of 65 layers, one thread, of epochs of {NETWORKS} x 23 maps")
        print(f"held in memory {min(memory['first'], memory['later']):.2f} s")
        for which in ("first", "later"):
            over = store[which] / min(memory["first"], memory["later"]) - 1
            print(f"from the store, {which} epoch {store[which]:.2f} s   {over:+.1%}")
        print(f"peak memory from the store {store['peak']:.2f} GB")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(Path(sys.argv[1]), sys.argv[2])
    else:
        main()
