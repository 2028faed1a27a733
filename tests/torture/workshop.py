"""One valid file of every kind that the product reads from others, in a folder where they may be damaged."""

from __future__ import annotations

import gzip
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.io import savemat

from pipeline import doctor
from pipeline.experiment import load
from slurm.ledger import Submission
from stages.datasets.checksums import write_manifest
from stages.datasets.registry import datasets_in_files
from stages.training import checkpoint
from storage_schema import lease

SUBMISSION = Submission(
    name="e-collect-12345678",
    stage="collect",
    indices=[[0, 1], [2]],
    after=["11"],
    resources={"time": 240, "partition": "main"},
    code="0123456789abcdef",
    submitted=1.5,
    job="12",
    keys=[["00000", "00001"], ["00002"]],
)


def furnish(root: Path, finished: Path) -> None:
    """Fill a folder with a finished experiment and with valid files of all other kinds."""
    shutil.copytree(finished, root / "e")
    layout = load(root / "e").layout
    with layout.config.open("a") as file:
        file.write('\n[slurm]\npartition = "main"\ntime = 240\nmem = "2G"\n')
    durable_json(
        layout.failure("collect", 3), {"error": "DataError", "message": "no", "kind": "input", "text": "no"}
    )
    durable_json(
        layout.lease("collect", 0), lease.Owner.this_process(1).__dict__ | {"host": "elsewhere", "boot": "b"}
    )
    durable_json(layout.submissions / SUBMISSION.name / "submission.json", SUBMISSION.__dict__)
    checkpoint.save(
        layout.checkpoint("collect", 1), {"identity": "me", "fingerprint": {}, "step": 1, "w": torch.zeros(9)}
    )
    durable_json(root / "probe.json", doctor.look(root))
    (root / "config/nap2-pipeline").mkdir(parents=True)
    (root / "config/nap2-pipeline/slurm.toml").write_text(
        'profile = "cpu"\nmem = "1G"\ntime = 10\nqos = "long"\n'
    )
    table = "arch_str,acc\n" + "".join(f"|a~{i}|,{50 + i}.5\n" for i in range(8))
    (root / "labels.csv").write_text(table)
    (root / "labels.csv.gz").write_bytes(gzip.compress(table.encode()))
    torch.save(_benchmark(), root / "bench.pth")
    torch.save(_benchmark(), root / "old.pth", _use_new_zipfile_serialization=False)
    _images(root)


def durable_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def _images(root: Path) -> None:
    draw, datasets = np.random.default_rng(0), datasets_in_files()
    for name in datasets:
        (root / name).mkdir()
    for file in datasets["cifar10"].files:
        rows = draw.integers(0, 256, (4, 3073), np.uint8)
        rows[:, 0] %= 10
        (root / "cifar10" / file).write_bytes(rows.tobytes())
    for file in datasets["svhn"].files:
        content = {
            "X": draw.integers(0, 256, (32, 32, 3, 4), np.uint8),
            "y": np.array([[1], [2], [3], [10]], np.uint8),
        }
        savemat(root / "svhn" / file, content, do_compression=file.startswith("train"))
    for i, file in enumerate(datasets["imagenet16_120"].files):
        batch = {
            "data": draw.integers(0, 256, (3, 768), np.uint8),
            "labels": [1, 5, 120],
            "mean": np.zeros(768),
        }
        (root / "imagenet16_120" / file).write_bytes(pickle.dumps(batch, protocol=2 + i % 3))
    for file in datasets["fashion_mnist"].files:
        shape = (4, 28, 28) if "images" in file else (4,)
        head = bytes((0, 0, 8, len(shape))) + b"".join(n.to_bytes(4, "big") for n in shape)
        content = head + draw.integers(0, 10, shape, np.uint8).tobytes()
        packed = file.startswith("t10k")
        (root / "fashion_mnist" / f"{file}{'.gz' if packed else ''}").write_bytes(
            gzip.compress(content) if packed else content
        )
    for name in datasets:
        if name != "cifar100":
            write_manifest(root / name, name)


def _benchmark() -> dict[str, Any]:
    def trial(seed: int) -> dict[str, Any]:
        accuracies = {"ori-test@199": np.float64(80.0 + seed)}
        known = {"eval_acc1es": accuracies, "eval_losses": {"ori-test@199": 1.0}, "eval_times": {}}
        return {
            "name": "cifar10",
            "epochs": 200,
            "seed": seed,
            "params": np.float32(0.5),
            "latency": [0.1],
            **known,
        }

    def result(index: int) -> dict[str, Any]:
        runs = {("cifar10", seed): trial(seed) for seed in (1, 2)}
        return {
            "arch_index": index,
            "arch_str": f"|a~{index}|",
            "all_results": runs,
            "dataset_seed": {"cifar10": [1, 2]},
        }

    infos = {i: {"full": result(i), "less": result(i)} for i in range(2)}
    return {
        "meta_archs": ["|a~0|", "|a~1|"],
        "total_archs": 2,
        "arch2infos": infos,
        "evaluated_indexes": {0, 1},
    }
