"""Every kind of file that the product reads from others, and how often it is tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import readings
from workshop import SUBMISSION

from pipeline.experiment import load
from pipeline.registry import STAGES
from stages.datasets.registry import datasets_in_files
from stages.labels.nasbench201_api import read_api_file
from storage_schema.layout import Layout
from storage_schema.write import object_path

KEYS = {
    "cae": "maps/0/all/weights",
    "embed": "maps/0/all",
    "bigru": "maps/0/all",
    "baselines": "parameters, in-domain, trial 0",
    "evaluate": "in-domain/0",
}
"""Of index 0, in stages whose results are named after keys."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One kind of file.

    Attributes:
        path: Of the file, below the workshop's folder.
        kind: Format, for the mutations.
        read: All that the product does with the file.
        seal: Makes what vouches for the file vouch for the hostile one.
        weight: How often it is tried, beside the others.
    """

    name: str
    path: str
    kind: str
    read: Callable[[Path], object]
    seal: Callable[[Path], object] = lambda root: None
    weight: int = 10


def _chunk(store: str, array: str, dims: int, read: Callable[[Path], object]) -> Reader:
    path = f"{store}/{array}/c/{'/'.join(['0'] * dims)}"
    return Reader(name=f"chunk of {array}", path=path, kind="bytes", read=read, weight=4)


def _metadata(path: str, read: Callable[[Path], object], weight: int) -> Reader:
    return Reader(
        name=f"metadata of {path}", path=f"e/{path}/zarr.json", kind="json", read=read, weight=weight
    )


def readers() -> list[Reader]:
    """Return all of them."""
    folder = f"e/slurm/{SUBMISSION.name}"
    assert object_path(Path("e/dynamics.zarr"), "weights", 0) == Path("e/dynamics.zarr/weights/c/0/0/0/0/0")
    train = {name: dataset.files[0] for name, dataset in datasets_in_files().items()}
    small = {"seal": readings.seal_model}
    return [
        Reader(
            name="experiment.toml",
            path="e/experiment.toml",
            kind="toml",
            read=readings.open_everywhere,
            seal=readings.seal_settings,
            weight=16,
        ),
        Reader(
            name="plan.csv",
            path="e/plan.csv",
            kind="csv",
            read=readings.open_everywhere,
            seal=readings.seal_settings,
            weight=8,
        ),
        Reader(
            name="identity.json",
            path="e/identity.json",
            kind="json",
            read=readings.open_everywhere,
            seal=readings.seal_identity,
            weight=12,
        ),
        *(
            Reader(
                name=f"marker of {stage}",
                path=str(Layout(Path("e")).marker(stage, KEYS.get(stage, 0))),
                kind="json",
                read=readings.marker(stage),
            )
            for stage in STAGES
        ),
        Reader(
            name="lease", path="e/leases/collect/00000.json", kind="json", read=readings.a_lease, weight=16
        ),
        *(
            Reader(
                name=f"split, {file}",
                path=f"e/splits/trial-00/{file}_files.json",
                kind="json",
                read=readings.a_splits,
            )
            for file in ("train", "val", "test")
        ),
        Reader(
            name="architectures of the splits",
            path="e/splits/architectures.json",
            kind="json",
            read=readings.split_sample,
        ),
        Reader(
            name="report of the splits",
            path="e/splits/report.json",
            kind="json",
            read=lambda root: STAGES["split"].report(load(root / "e")),
        ),
        Reader(
            name="gathered labels",
            path="e/labels.csv",
            kind="csv",
            read=lambda root: STAGES["split"].prepare(load(root / "e")),
        ),
        Reader(
            name="failure record", path="e/failures/collect/00003.json", kind="json", read=readings.failure
        ),
        Reader(
            name="card",
            path="e/models/maps/0/all/predictor/card.json",
            kind="json",
            read=readings.model,
            weight=3,
            **small,
        ),
        Reader(
            name="card of an encoder",
            path="e/models/maps/0/all/weights/card.json",
            kind="json",
            read=readings.model,
            weight=3,
            **small,
        ),
        Reader(
            name="safetensors",
            path="e/models/maps/0/all/predictor/weights.safetensors",
            kind="bytes",
            read=readings.model,
            weight=3,
            **small,
        ),
        _metadata("dynamics.zarr", readings.dynamics, 16),
        _metadata("dynamics.zarr/weights", readings.writer, 6),
        _metadata("dynamics.zarr/provenance", readings.writer, 6),
        _chunk("e/dynamics.zarr", "weights", 5, readings.dynamics),
        _chunk("e/dynamics.zarr", "layers", 1, readings.dynamics),
        _chunk("e/dynamics.zarr", "architecture", 1, readings.dynamics),
        _metadata("embeddings/maps/0/all.zarr", readings.embeddings, 12),
        _chunk("e/embeddings/maps/0/all.zarr", "embedding", 4, readings.embeddings),
        _metadata("evaluation/in-domain/trial-00.zarr", readings.scores, 12),
        _chunk("e/evaluation/in-domain/trial-00.zarr", "score", 4, readings.scores),
        _chunk("e/evaluation/in-domain/trial-00.zarr", "label", 1, readings.scores),
        Reader(name="ledger", path=f"{folder}/submission.json", kind="json", read=readings.ledger, weight=16),
        Reader(name="node's receipt", path="probe.json", kind="json", read=readings.probe),
        Reader(
            name="slurm.toml", path="config/nap2-pipeline/slurm.toml", kind="toml", read=readings.resources
        ),
        Reader(
            name="label table", path="labels.csv", kind="csv", read=readings.table("labels.csv"), weight=16
        ),
        Reader(
            name="label table, gzipped",
            path="labels.csv.gz",
            kind="bytes",
            read=readings.table("labels.csv.gz"),
            weight=16,
        ),
        Reader(
            name="NAS-Bench-201",
            path="bench.pth",
            kind="bytes",
            read=lambda root: read_api_file(root / "bench.pth", "cifar10"),
            weight=12,
        ),
        Reader(
            name="NAS-Bench-201, old format",
            path="old.pth",
            kind="bytes",
            read=lambda root: read_api_file(root / "old.pth", "cifar10"),
            weight=12,
        ),
        Reader(
            name="checkpoint",
            path="e/checkpoints/collect/00001.pt",
            kind="bytes",
            read=readings.a_checkpoint,
            seal=readings.seal_checkpoint,
            weight=12,
        ),
        Reader(
            name="manifest of data",
            path="cifar10/manifest.sha256.json",
            kind="json",
            read=readings.data("cifar10"),
            weight=12,
        ),
        *(
            Reader(
                name=f"data, {name}",
                path=f"{name}/{file}",
                kind="bytes",
                read=readings.data(name),
                seal=readings.seal_data(name),
                weight=16,
            )
            for name, file in (
                *((name, file) for name, file in train.items() if name != "cifar100"),
                ("svhn", "test_32x32.mat"),
                ("imagenet16_120", "train_data_batch_3"),
                ("fashion_mnist", "t10k-images-idx3-ubyte.gz"),
            )
        ),
    ]
