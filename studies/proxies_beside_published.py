"""Side by side: zero-cost proxies as computed here and by independent code, on the same NAS-Bench-201 networks.

    OMP_NUM_THREADS=1 PYTHONPATH=. NAP2_DATA_ROOT=FOLDER .venv/bin/python \
        studies/proxies_beside_published.py runs/proxies.csv 400 [PROXY ...]

Full-size networks (C=16, N=5, 32x32) on CIFAR-10. Rows are written one by one to the file named, and those that are
there are not computed again; the architectures come in one shuffled order, so any number of them is a fair sample. The
table has Spearman's correlation of ours with theirs, and of both with the test accuracy, where all three are known.
With names of proxies (synflow gradients naswot jacov pnorm are those that theirs has) only these are computed, which
takes a quarter of the time, and there are no aggregates.
"""

from __future__ import annotations

import csv
import gzip
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau, spearmanr

from stages.baselines.methods.rank_aggregation import AGGREGATES
from stages.datasets.config import DataConfig
from stages.datasets.load import load
from stages.search_spaces.build import build
from stages.search_spaces.nasbench201.space import NASBench201
from stages.search_spaces.space import ImageTask
from stages.training.config import TrainingConfig
from stages.training.determinism import make_deterministic
from stages.training.loop import DeviceData
from stages.zero_cost.batch import draw_batch
from stages.zero_cost.columns import COLUMNS
from stages.zero_cost.config import ZeroCostConfig
from stages.zero_cost.measure import measure
from stages.zero_cost.proxy import Batch, Proxy, Subject
from stages.zero_cost.registry import PROXIES

SHARED = Path(os.environ.get("NAP2_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
SPACE, TASK = NASBench201(channels=16, cells_per_stage=5), ImageTask(classes=10, image_size=32)
THEIRS = {
    "synflow": "cifar10_synflow",
    "grad_norm": "cifar10_grad_norm",
    "snip": "cifar10_snip",
    "naswot": "cifar10_nwot",
    "jacov": "cifar10_jacov",
    "pnorm": "cifar10_l2_norm",
}
PUBLISHED = {"AZ-NAS": 0.712, "VKDNW aggregate": 0.750}
"""Kendall's τ on CIFAR-10, whole space."""


def rows(name: str) -> list[dict[str, str]]:
    """Read a table of the shared data."""
    with gzip.open(SHARED / name, "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def sample(number: int) -> list[dict[str, str]]:
    """Join proxies and accuracies; the first so many of one shuffled order."""
    accuracies = {row["arch_index"]: row for row in rows("nasbench201.csv.gz")}
    joined = [row | accuracies[row["arch_index"]] for row in rows("zero_cost_proxies.csv.gz")]
    return [joined[i] for i in np.random.default_rng(0).permutation(len(joined))[:number]]


def images() -> Batch:
    """Draw the one batch of CIFAR-10."""
    data = DeviceData.of(load(DataConfig(name="cifar10")), torch.device("cpu"))
    return draw_batch(data, ZeroCostConfig())


def ours(row: dict[str, str], batch: Batch, proxies: dict[str, Proxy]) -> dict[str, Any]:
    """Compute the columns of one architecture, with seconds of the processor."""
    name = row["arch_str"]
    network = build(SPACE, name, TASK, TrainingConfig().seed)
    subject = Subject(network=network, space=SPACE, architecture=name, task=TASK)
    started = time.process_time()
    measured = measure(subject, batch, lambda: None, proxies)
    found = {name: math.nan if value is None else value for name, value in measured.values.items()}
    return {
        "arch_str": name,
        **{name: found.get(name, math.nan) for name in COLUMNS},
        **{f"seconds_{name}": measured.seconds.get(name, 0.0) for name in COLUMNS},
        "processor_seconds": round(time.process_time() - started, 3),
    }


def computed(path: Path, wanted: list[dict[str, str]], proxies: dict[str, Proxy]) -> Iterator[dict[str, Any]]:
    """Yield a row for each architecture, from the file or computed and added to it."""
    known = {}
    if path.exists():
        with path.open(encoding="utf-8") as file:
            known = {row["arch_str"]: row for row in csv.DictReader(file)}
    batch = None
    for row in wanted:
        if row["arch_str"] in known:
            yield known[row["arch_str"]]
            continue
        batch = images() if batch is None else batch
        fresh = ours(row, batch, proxies)
        with path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(fresh))
            if not file.tell():
                writer.writeheader()
            writer.writerow(fresh)
        yield fresh


def correlations(one: Any, other: Any) -> tuple[float, float]:
    """Return Spearman's correlation and Kendall's τ-b where both are finite."""
    both = np.isfinite(one) & np.isfinite(other)
    return tuple(float(f(one[both], other[both]).statistic) for f in (spearmanr, kendalltau))  # type: ignore[return-value]


def table(wanted: list[dict[str, str]], found: list[dict[str, Any]]) -> None:
    """Print one line a column and aggregate."""
    accuracy = np.array([float(row["cifar10_test"]) for row in wanted])
    columns = {name: np.array([float(row[name]) for row in found]) for name in COLUMNS}
    print(f"{len(wanted)} architectures")
    print(f"{'':16} ours:theirs  ours:accuracy  theirs:accuracy   τ ours  τ theirs  seconds  missing")
    for name, values in columns.items():
        if np.isnan(values).all():
            continue
        line = f"{name:16}"
        theirs = np.array([float(row[THEIRS[name]] or "nan") for row in wanted]) if name in THEIRS else None
        if theirs is None:
            rho, tau = correlations(values, accuracy)
            line += f" {'':11} {rho:14.3f} {'':16} {tau:8.3f} {'':9}"
        else:
            where = np.isfinite(theirs) & np.isfinite(values)
            rho, tau = correlations(values[where], accuracy[where])
            their_rho, their_tau = correlations(theirs[where], accuracy[where])
            same = correlations(values, theirs)[0]
            line += f" {same:11.3f} {rho:14.3f} {their_rho:16.3f} {tau:8.3f} {their_tau:9.3f}"
        seconds = np.median([float(row[f"seconds_{name}"]) for row in found])
        print(f"{line} {seconds:8.2f} {np.isnan(values).sum():8}")
    whole = not any(np.isnan(values).all() for values in columns.values())
    for name, aggregate in AGGREGATES.items() if whole else ():
        rho, tau = correlations(aggregate.compute(columns), accuracy)
        published = f"published on the whole space: {PUBLISHED[name]:.3f}" if name in PUBLISHED else ""
        print(f"{name:16} {'':11} {rho:14.3f} {'':16} {tau:8.3f}   {published}")
    mean = np.nanmean([float(row["processor_seconds"]) for row in found])
    print(f"seconds of one core a network: {mean:.2f}")


def closed_forms(wanted: list[dict[str, str]]) -> None:
    """Print whether parameters and FLOPs equal the table's."""
    summaries = [SPACE.summarize(row["arch_str"], TASK) for row in wanted]
    for name, ours, column in (
        ("parameters", [each.parameters for each in summaries], "params_m"),
        ("FLOPs", [each.flops for each in summaries], "flops_m_cifar10"),
    ):
        found = np.array(ours) / 1e6
        theirs = np.array([float(row[column]) for row in wanted])
        print(f"{name}: largest difference {np.abs(found - theirs).max():.1e} million")


def main() -> None:
    """Compute what is missing and print the table, now and then and at the end."""
    path, number = Path(sys.argv[1]), int(sys.argv[2])
    make_deterministic(1)
    path.parent.mkdir(parents=True, exist_ok=True)
    wanted, found = sample(number), list[dict[str, Any]]()
    chosen = {name: PROXIES[name] for name in sys.argv[3:] or PROXIES}
    for row in computed(path, wanted, chosen):
        found.append(row)
        if len(found) % 50 == 0 and len(found) < len(wanted):
            print(f"{len(found)} of {len(wanted)}", file=sys.stderr, flush=True)
    closed_forms(wanted)
    table(wanted, found)


if __name__ == "__main__":
    main()
