"""What the product does with each kind of file that it reads from others, and how to vouch for a hostile one.

A reader that checks a digest first is given the digest of the hostile file: whoever can change the one can change
the other, and else nothing behind the digest would ever be tried.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from pipeline import config, doctor, inspect, predict
from pipeline.cluster import ClusterOptions, resolve_resources
from pipeline.experiment import identity_record, load
from pipeline.forecast import forecast
from pipeline.queue_view import QueueView
from pipeline.registry import STAGES
from pipeline.status import read_failure, stage_status
from pipeline.verify import verify_digests
from slurm.ledger import Ledger
from slurm.submit import clear_abandoned
from stages.collect.stage import CollectStage
from stages.datasets import load as datasets
from stages.datasets.checksums import write_manifest
from stages.datasets.config import DataConfig
from stages.evaluation.report import write_report
from stages.labels.config import LabelsConfig
from stages.labels.table import read_table
from stages.nap2.feature_maps.variants import VARIANTS
from stages.nap2.models import card, plan
from stages.nap2.models.plan import ModelKey
from stages.nap2.models.predict import FrozenPredictor
from stages.nap2.models.sequences import read_sequences
from stages.training import checkpoint
from storage_schema import lease, markers, sealed, splits
from storage_schema.lease import Lease, LeaseLostError, LeaseTakenError
from storage_schema.read import FeatureMaps, open_dynamics, written
from storage_schema.write import ArchitectureWriter

KEY = ModelKey(VARIANTS["maps"], 0, "all")
CPU = torch.device("cpu")


# What is done with each


def open_everywhere(root: Path) -> None:
    experiment = load(root / "e")
    for stage in STAGES.values():
        status = stage_status(experiment, stage)
        assert status.total == stage.num_tasks(experiment)
        forecast(experiment, stage, status.unfinished)
        stage.describe(experiment, 0)
    resolve_resources(experiment, ClusterOptions())
    CollectStage().finalise(experiment)


def seal_settings(root: Path) -> None:
    """Make an identity for settings and plan that are there now, as far as they can be read at all."""
    layout = load_layout(root)
    with suppress(Exception):
        resolved, kept = config.read(layout.config), json.loads(layout.identity.read_bytes())
        record = identity_record(resolved, layout.plan.read_bytes(), kept["data"])
        layout.identity.write_text(json.dumps(record))


def seal_identity(root: Path) -> None:
    layout = load_layout(root)
    with suppress(Exception):
        record = json.loads(layout.identity.read_bytes())
        content = json.dumps({key: record[key] for key in ("settings", "plan", "data")}, sort_keys=True)
        record["identity"] = hashlib.sha256(content.encode()).hexdigest()[:16]
        layout.identity.write_text(json.dumps(record))


def load_layout(root: Path) -> Any:
    from storage_schema.layout import Layout

    return Layout(root / "e")


def marker(stage: str) -> Callable[[Path], None]:
    def read(root: Path) -> None:
        experiment = load(root / "e")
        stage_status(experiment, STAGES[stage])
        verify_digests(experiment, STAGES[stage], [0])
        forecast(experiment, STAGES[stage], [1])
        inspect.label(experiment, 0)
        if stage in ("collect", "labels", "split"):
            STAGES[stage].finalise(experiment)
        if stage == "split":
            STAGES[stage].report(experiment)
        if stage == "bigru":
            card.read_card(plan.predictor_folder(experiment, KEY), digests(root))
        with suppress(predict.PredictError):
            predict.find_model(str(root / "e"), None, "maps")

    return read


def digests(root: Path) -> Any:
    from stages.nap2.models.encode import model_digests

    experiment = load(root / "e")
    return model_digests(experiment, plan.predicted_by(experiment.settings, KEY))


def a_lease(root: Path) -> None:
    layout = load_layout(root)
    path, lock = layout.lease("collect", 0), layout.lease_lock("collect")
    owner = lease.held(path)
    _ = "" if owner is None else f"{owner.pid} on {owner.host}"
    with suppress(LeaseTakenError, LeaseLostError):
        Lease.acquire(path, lock, 0, last_fence=3).release(finished=False)


def a_splits(root: Path) -> None:
    experiment = load(root / "e")
    found = splits.read(experiment.layout.split(0), len(experiment.architectures))
    for indices in (*found.train.values(), found.validation, found.test):
        assert all(experiment.architectures[i] for i in indices)
        assert all(0 <= found.labels[i] <= 1 for i in indices)


def split_sample(root: Path) -> None:
    experiment = load(root / "e")
    stage_status(experiment, STAGES["split"])
    STAGES["split"].finalise(experiment)


def failure(root: Path) -> None:
    layout = load_layout(root)
    read_failure(layout.failure("collect", 3))
    stage_status(load(root / "e"), STAGES["collect"])


def model(root: Path) -> None:
    experiment = load(root / "e")
    for folder, model in (
        (plan.predictor_folder(experiment, KEY), plan.predicted_by(experiment.settings, KEY)),
        (plan.cae_folder(experiment, KEY, "weights"), plan.trained(experiment.settings, KEY, "weights")),
    ):
        marker = markers.load(model.marker(experiment.layout))
        assert marker is not None
        card.read_card(folder, marker.digests)
    FrozenPredictor(experiment, KEY)


def seal_model(root: Path) -> None:
    layout = load_layout(root)
    for folder, stage, key in (("predictor", "bigru", str(KEY)), ("weights", "cae", f"{KEY}/weights")):
        place, path = layout.model("maps/0/all") / folder, layout.marker(stage, key)
        with suppress(Exception):
            facts = json.loads((place / "card.json").read_bytes())
            facts["weights_sha256"] = hashlib.sha256((place / "weights.safetensors").read_bytes()).hexdigest()
            (place / "card.json").write_text(json.dumps(facts))
        record = json.loads(path.read_bytes())
        for name, file in card.files(place).items():
            record["digests"][name] = hashlib.sha256(file.read_bytes()).hexdigest()
        path.write_text(json.dumps(record))


def dynamics(root: Path) -> None:
    path = load_layout(root).dynamics
    open_dynamics(path)
    written(path, [0, 1])
    maps = FeatureMaps(path, "weights", 7)
    assert maps[0, 1].shape == (12, 7, 100)
    experiment = load(root / "e")
    CollectStage().prepare(experiment)
    inspect.inspect(experiment, 0, "weights")
    CollectStage().finalise(experiment)


def embeddings(root: Path) -> None:
    read_sequences(load(root / "e"), KEY, [0, 3])


def scores(root: Path) -> None:
    experiment = load(root / "e")
    write_report(experiment, "in-domain", experiment)


def ledger(root: Path) -> None:
    experiment = load(root / "e")
    ledger = Ledger(experiment.layout.submissions)
    ledger.submissions()
    view = QueueView.of(experiment)
    for stage in STAGES:
        view.queued(stage)
        for place in view.last_places(stage).values():
            view.log_tail(place)
    clear_abandoned(ledger)


def probe(root: Path) -> None:
    doctor.compare("node", doctor.read_probe(root / "probe.json"), doctor.look(root))


def resources(root: Path) -> None:
    resolve_resources(load(root / "e"), ClusterOptions())


def table(file: str) -> Callable[[Path], object]:
    return lambda root: read_table(LabelsConfig(source="table", table=str(root / file), column="acc"))


def data(name: str) -> Callable[[Path], object]:
    return lambda root: datasets.load(DataConfig(name=name, root=str(root / name), validation_images=1))


def seal_data(name: str) -> Callable[[Path], object]:
    def seal(root: Path) -> None:
        with suppress(ValueError):  # an empty file is refused here
            write_manifest(root / name, name)

    return seal


def a_checkpoint(root: Path) -> None:
    path = load_layout(root).checkpoint("collect", 1)
    kept = checkpoint.load(path, CPU, "me")
    if kept is not None:
        checkpoint.check_fingerprint(path, kept["fingerprint"], {"torch": "2"}, True)


def seal_checkpoint(root: Path) -> None:
    path = load_layout(root).checkpoint("collect", 1)
    sealed.write(path, memoryview(path.read_bytes()[: -sealed.SEAL_BYTES]))


def writer(root: Path) -> None:
    ArchitectureWriter(load_layout(root).dynamics, 0)
    CollectStage().finalise(load(root / "e"))
