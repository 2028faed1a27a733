"""Full-size proxies on real CIFAR-10 beside numbers of independent code: a few of those of the benchmark."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from stages.datasets.config import DataConfig
from stages.datasets.load import load
from stages.search_spaces.build import build
from stages.search_spaces.nasbench201.space import NASBench201
from stages.search_spaces.space import ImageTask
from stages.training.loop import DeviceData
from stages.zero_cost.batch import draw_batch
from stages.zero_cost.config import ZeroCostConfig
from stages.zero_cost.proxy import Subject
from stages.zero_cost.registry import PROXIES

SPACE, TASK = NASBench201(channels=16, cells_per_stage=5), ImageTask(classes=10, image_size=32)
NUMBER = 10
BOUNDS = {"synflow": 0.97, "grad_norm": 0.8, "snip": 0.8, "naswot": 0.9, "jacov": 0.8}
"""Spearman's correlation of ten pairs; `studies/proxies_beside_published.py` prints that of 400."""
NAMES = {"naswot": "nwot"}


def read(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def published(shared_data: Path) -> list[dict[str, str]]:
    """Proxies and costs by independent code; every thirty-ninth."""
    costs = {row["arch_index"]: row for row in read(shared_data / "nasbench201.csv.gz")}
    known = [row for row in read(shared_data / "zero_cost_proxies.csv.gz") if row["cifar10_jacov"]]
    return [row | costs[row["arch_index"]] for row in known[:: len(known) // NUMBER][:NUMBER]]


def test_parameters_and_flops_equal_the_table_s(published: list[dict[str, str]]) -> None:
    for row in published:
        ours = SPACE.summarize(row["arch_str"], TASK)
        assert ours.parameters == round(1e6 * float(row["params_m"]))
        assert ours.flops == round(1e6 * float(row["flops_m_cifar10"]))


@pytest.mark.slow
def test_proxies_rank_full_size_networks_as_independent_code_does(
    published: list[dict[str, str]], cifar_root: Path
) -> None:
    data = DeviceData.of(load(DataConfig(name="cifar10", root=str(cifar_root))), torch.device("cpu"))
    batch, found = draw_batch(data, ZeroCostConfig()), []
    for row in published:
        name = row["arch_str"]
        network = build(SPACE, name, TASK, seed=4)
        subject = Subject(network=network, space=SPACE, architecture=name, task=TASK)
        scores = dict[str, float]()
        for proxy in ("synflow", "gradients", "naswot", "jacov"):
            scores |= PROXIES[proxy].compute(subject, batch)
        found.append(scores)
    for column, bound in BOUNDS.items():
        theirs = [float(row[f"cifar10_{NAMES.get(column, column)}"]) for row in published]
        assert spearmanr([row[column] for row in found], theirs).statistic >= bound, column
    # Not only ranks: SynFlow needs no data, and little else of chance is in these.
    assert np.allclose(
        [r["synflow"] for r in found], [float(r["cifar10_synflow"]) for r in published], atol=1.0
    )
    assert np.allclose([r["naswot"] for r in found], [float(r["cifar10_nwot"]) for r in published], rtol=0.02)
