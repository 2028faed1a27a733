"""Side by side: the plain loop over units and `stages.recording.statistics`, one snapshot of 98 layers.

Run from the repository's root: `PYTHONPATH=.:tests python tests/benchmarks/bench_statistics.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from reference_statistics import network_statistics
from stages.recording.statistics import StatisticsPlan, statistics


def all_3x3_shapes(channels: int = 16, cells: int = 5, classes: int = 10) -> list[tuple[int, ...]]:
    """Weight shapes of the network whose six edges are all 3x3 convolutions: 98 layers (R1)."""
    shapes: list[tuple[int, ...]] = [(channels, 3, 3, 3)]
    width = channels
    for stage in range(3):
        if stage:
            width *= 2
            shapes += [(width, width // 2, 3, 3), (width, width, 3, 3), (width, width // 2, 1, 1)]
        shapes += [(width, width, 3, 3)] * (6 * cells)
    return [*shapes, (classes, width)]


def snapshot(seed: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    """Weights like an initialization's, gradients whose scale varies from filter to filter."""
    generator = torch.Generator().manual_seed(seed)
    weights, gradients = [], []
    for shape in all_3x3_shapes():
        scale = torch.empty(shape[0], *[1] * (len(shape) - 1)).log_normal_(-6, 1, generator=generator)
        weights.append(torch.empty(shape).uniform_(-1, 1, generator=generator) * 0.06)
        gradients.append(torch.empty(shape).normal_(generator=generator) * scale)
    return weights, gradients


def milliseconds(run: Callable[[], object], repeats: int) -> float:
    """The fastest of several runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def main() -> None:
    """Print both times, their ratio and the largest disagreement."""
    torch.set_num_threads(1)
    kinds = snapshot()
    plan = StatisticsPlan.of(kinds[0])
    arrays = [[tensor.numpy() for tensor in kind] for kind in kinds]
    [statistics(kind, plan) for kind in kinds]
    ours = milliseconds(lambda: [statistics(kind, plan) for kind in kinds], 20)
    loop = milliseconds(lambda: [network_statistics(kind) for kind in arrays], 2)
    pairs = [(statistics(k, plan).numpy(), network_statistics(a)) for k, a in zip(kinds, arrays, strict=True)]
    worst = max(np.nanmax(np.abs(a - b) / (np.abs(b) + 1e-12)) for a, b in pairs)
    print(f"layers {len(kinds[0])}, values {2 * sum(t.numel() for t in kinds[0]):,} (weights and gradients)")
    print(f"plain loop over units  {loop:10.1f} ms")
    print(f"stages.recording       {ours:10.1f} ms")
    print(f"ratio                  {loop / ours:10.1f} x   (largest relative difference {worst:.1e})")


if __name__ == "__main__":
    main()
