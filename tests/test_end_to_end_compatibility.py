"""An experiment under a later version of the code, of schema and numerics: all that is done stays done and readable."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from rich.console import Console

from baseline_scene import run
from pipeline import config, predict, verify
from pipeline.cluster import ClusterOptions, submit
from pipeline.execute import execute
from pipeline.experiment import ExperimentError, change, damaged_files, initialize, load
from pipeline.extend import extend
from pipeline.registry import STAGES
from pipeline.run import RunOptions, run_stage
from pipeline.status import stage_status
from slurm import controller
from slurm.task import EXIT_FAILED
from stages.collect import stage as collect
from stages.experiment import Experiment
from stages.nap2.models.config import CaeConfig
from stages.settings import ConfigError, setting
from stages.training import config as training
from stages.training.config import TrainingConfig
from storage_schema import markers, schema
from storage_schema.read import open_dynamics
from storage_schema.schema import Variable

OTHERS = "baselines.methods=parameters, FLOPs, layers, cell trees"
CHAIN = [name for name in STAGES if name != "zero-cost"]  # whose store tests/data has
QUIET = Console(quiet=True)
INLINE = RunOptions(cluster="inline")
TWO = ("architectures.number=2", "architectures.slice=1", "recording.snapshots=3", "labels.epochs=0")


@dataclass(frozen=True, kw_only=True)
class LaterTraining(TrainingConfig):
    clipping: float = setting(0.0, "largest norm of a gradient; 0: any", ge=0, late=True)


@dataclass(frozen=True, kw_only=True)
class LaterCae(CaeConfig):
    SECTION: ClassVar[str] = "cae"
    noise: float = setting(0.0, "noise of the maps", ge=0, late=True)


@dataclass(frozen=True, kw_only=True)
class CarelessCae(CaeConfig):
    SECTION: ClassVar[str] = "cae"
    noise: float = setting(0.0, "noise of the maps", ge=0)


def become_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise both versions, with variables of each kind and a setting more."""
    monkeypatch.setattr(schema, "VERSION", 2)
    monkeypatch.setattr(training, "NUMERICS_VERSION", 2)
    monkeypatch.setitem(config.SECTIONS, "training", LaterTraining)
    monkeypatch.setitem(config.SECTIONS, "cae", LaterCae)
    values = collect.store_values

    def later_values(experiment: Experiment, sizes: Any) -> dict[str, Any]:
        return values(experiment, sizes) | {"width": np.full(sizes.architectures, 7)}

    monkeypatch.setattr(collect, "store_values", later_values)
    static, gathered = (
        Variable(dims=("architecture",), dtype="int64", written_by=kind, description="later", since=2)  # type: ignore[arg-type]
        for kind in ("static", "finalise")
    )
    for table, name, variable in (
        (schema.VARIABLES, "width", static),
        (schema.VARIABLES, "rank", gathered),
        (schema.ZERO_COST, "rank", gathered),
        (schema.SCORES, "rank", static),
        (schema.EMBEDDINGS, "rank", static),
    ):
        monkeypatch.setitem(table, name, variable)


@pytest.fixture(scope="module")
def trained(smoke_collected: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(shutil.copytree(smoke_collected, tmp_path_factory.mktemp("later") / "e"))
    assert run(change(root, [OTHERS, "cae.epochs=1", "bigru.epochs=1"]), *CHAIN) == 0
    return root


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "e"))


def states(experiment: Experiment) -> set[str]:
    found = [stage_status(experiment, STAGES[name]).indices for name in CHAIN]
    return {state for each in found for state, indices in each.items() if indices}


def digests(root: Path, *stages: str) -> dict[str, dict[str, str]]:
    paths = [path for stage in stages for path in sorted((root / "markers" / stage).glob("*.json"))]
    found = {f"{path.parent.name} {path.stem}": markers.load(path) for path in paths}
    return {name: marker.digests for name, marker in found.items() if marker is not None}


def test_it_opens_verifies_and_is_done(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load(root)
    become_later(monkeypatch)
    after = load(root)
    assert (after.identity, after.schema_version, after.numerics_version) == (before.identity, 1, 1)
    assert states(after) == {"done"}
    for stage in (STAGES[name] for name in CHAIN):
        assert verify.verify_digests(after, stage, range(stage.num_tasks(after))) == []
        assert list(verify.find_shared(after, stage)) == []


def test_it_is_evaluated_and_everything_runs_without_a_change(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digests(root, *CHAIN)
    become_later(monkeypatch)
    for stage in ("embed", "evaluate"):
        shutil.rmtree(root / "markers" / stage)
    shutil.rmtree(root / "evaluation")
    assert run(load(root), *CHAIN) == 0
    assert states(load(root)) == {"done"}
    after = digests(root, *CHAIN)
    assert after.keys() == before.keys()
    assert {name for name in before if before[name] != after[name]} <= {
        "evaluate shared"
    }  # figures have a date
    assert "rank" not in open_dynamics(root / "dynamics.zarr")


@pytest.mark.parametrize(
    ("kind", "noise", "stale"), [(LaterCae, 0.0, 0), (LaterCae, 0.5, 4), (CarelessCae, 0.0, 4)]
)
def test_a_later_stage_is_stale_by_a_late_setting_where_that_is_not_the_default(
    kind: Any, noise: float, stale: int, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(config.SECTIONS, "cae", kind)
    opened = change(root, [f"cae.noise={noise}"])
    assert len(stage_status(opened, STAGES["cae"]).indices["stale"]) == stale


def test_new_networks_are_made_in_the_new_version_and_ranked_by_old_models(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    become_later(monkeypatch)
    new = initialize(tmp_path / "new", "smoke", TWO)
    assert (new.schema_version, new.numerics_version) == (2, 2)
    assert run(new, "collect") == 0
    store = open_dynamics(new.layout.dynamics)
    assert store.attrs["schema_version"] == 2
    assert store["width"].values.tolist() == [7, 7]
    assert "rank" in store
    ranking = predict.rank(new, predict.find_model(str(root), None, "maps"), None)
    assert len(ranking.rows) == 2


def test_only_training_beside_other_numerics_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in ("collect", "labels"):
        (root / "markers" / stage / "00003.json").unlink()
    monkeypatch.setattr(training, "NUMERICS_VERSION", 2)
    opened, said = (
        load(root),
        r"^the experiment has numerics version 1 and this code 2: .*another experiment$",
    )
    for stage in ("collect", "labels"):
        before = digests(root, stage)
        with pytest.raises(ConfigError, match=said):
            run_stage(opened, STAGES[stage], None, INLINE, QUIET)
        assert execute(opened, STAGES[stage], 3) == EXIT_FAILED
        assert digests(root, stage) == {
            name: each for name, each in before.items() if "shared" not in name
        } | {f"{stage} shared": before[f"{stage} shared"]}
    with pytest.raises(ConfigError, match=said):
        verify.verify_by_training(opened, [0])
    with pytest.raises(ConfigError, match=said):
        extend(root, 26)
    monkeypatch.setattr(training, "NUMERICS_VERSION", 1)
    assert run(load(root), "collect", "labels") == 0


def test_a_cluster_is_not_asked_to_train_beside_other_numerics(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "markers" / "collect" / "00003.json").unlink()
    monkeypatch.setattr(training, "NUMERICS_VERSION", 2)
    monkeypatch.setattr(controller, "require", lambda: None)
    monkeypatch.setattr(controller, "limits", lambda: None)
    with pytest.raises(ConfigError, match="numerics version 1"):
        submit(load(root), [STAGES["collect"]], None, ClusterOptions())


@pytest.mark.parametrize("name", ["schema version", "numerics version"])
def test_what_a_later_version_made_is_refused_before_that_is_there(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as later:
        later.setattr(schema, "VERSION", 2 if name.startswith("schema") else 1)
        later.setattr(training, "NUMERICS_VERSION", 1 if name.startswith("schema") else 2)
        initialize(tmp_path / "e", "smoke", TWO)
        load(tmp_path / "e")
    with pytest.raises(ExperimentError, match=f"{name} 2 is newer than 1; update nap2-pipeline"):
        load(tmp_path / "e")


def test_a_lost_identity_is_found_again_under_later_versions(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (root / "identity.json").read_bytes()
    (root / "identity.json").write_bytes(b"{}")
    become_later(monkeypatch)
    assert damaged_files(root) == {root / "identity.json": content}
