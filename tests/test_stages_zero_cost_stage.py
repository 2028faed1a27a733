"""The stage of zero-cost proxies: the network is collect's, its values lie in markers and in one store."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from rich.console import Console

from pipeline import repair, verify
from pipeline.execute import EXIT_DONE, execute
from pipeline.experiment import change, initialize, load
from pipeline.registry import STAGES
from pipeline.run import RunOptions, run_stage
from pipeline.status import stage_status
from slurm.preemption import EXIT_STOPPED, StopFlag
from stages.datasets.config import DataConfig
from stages.experiment import Experiment
from stages.search_spaces.chosen import space_of, task_of
from stages.search_spaces.space import summary
from stages.settings import ConfigError
from stages.training.config import TrainingConfig
from stages.training.resumable import ResumableTraining
from stages.zero_cost import compute, registry
from stages.zero_cost.batch import draw_batch
from stages.zero_cost.columns import COLUMNS
from stages.zero_cost.config import ZeroCostConfig
from stages.zero_cost.proxy import Subject
from storage_schema import markers, schema

SETTINGS = ("architectures.number=4", "architectures.channels=2", "zero_cost.batch_size=16")
ZERO_COST = STAGES["zero-cost"]
INLINE = RunOptions(cluster="inline")


def run(experiment: Experiment) -> None:
    assert run_stage(experiment, ZERO_COST, None, INLINE, Console(quiet=True)) == EXIT_DONE


def store(experiment: Experiment) -> xr.Dataset:
    return xr.open_zarr(experiment.layout.zero_cost, chunks=None).load()


def contents(root: Path) -> dict[str, bytes]:
    return {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    experiment = initialize(tmp_path_factory.mktemp("zero") / "e", "demo", SETTINGS)
    run(experiment)
    return experiment.layout.root


def test_the_store_says_what_is_in_it(made: Path) -> None:
    experiment = load(made)
    found = store(experiment)
    assert found.score.dims == ("architecture", "proxy")
    assert found.proxy.values.tolist() == list(COLUMNS)
    assert tuple(found.architecture.values) == experiment.architectures
    assert set(found.variables) == set(schema.ZERO_COST)
    assert all(found[name].attrs["description"] and found[name].attrs["units"] for name in found.variables)
    assert found.unit.sel(proxy="complexity") == "FLOPs"
    assert "Lee" in str(found.source.sel(proxy="trainability").values)
    task = task_of(experiment.settings)
    costs = [summary(space_of(experiment), name, task).flops for name in experiment.architectures]
    assert found.score.sel(proxy="complexity").values.tolist() == costs
    assert bool((found.seconds >= 0).all())
    assert bool((found.seconds.sel(proxy="grad_norm") == found.seconds.sel(proxy="snip")).all())
    assert json.loads(str(found.provenance.values[0]))["torch"] == torch.__version__
    named, missing = found.note.values != "", np.isnan(found.score.values)
    assert np.array_equal(named, missing)


def test_running_again_and_verifying_changes_nothing(made: Path) -> None:
    experiment, before = load(made), contents(made)
    run(experiment)
    assert contents(made) == before
    assert verify.verify_digests(experiment, ZERO_COST, range(4)) == []


def test_the_values_are_the_same_in_another_experiment(made: Path, tmp_path: Path) -> None:
    experiment = initialize(tmp_path / "e", "demo", SETTINGS)
    run(experiment)
    assert store(experiment).score.equals(store(load(made)).score)


def test_the_network_is_the_one_that_collect_trains(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment, seen = load(made), []

    def look(subject: Subject, *_: Any) -> Any:
        seen.append(subject.network)
        raise KeyboardInterrupt

    monkeypatch.setattr(compute, "measure", look)
    execution: Any = None
    with pytest.raises(KeyboardInterrupt):
        compute.compute(experiment, 1, execution, registry.PROXIES)
    training = ResumableTraining(experiment, 1, execution, "collect", experiment.settings(TrainingConfig))
    collected = training._trainer.network.state_dict()
    assert all(torch.equal(value, collected[name]) for name, value in seen[0].state_dict().items())


def test_other_settings_make_it_stale_and_the_store_follows(made: Path, tmp_path: Path) -> None:
    experiment = initialize(tmp_path / "e", "demo", SETTINGS)
    run(experiment)
    before = store(experiment).score
    changed = change(experiment.layout.root, ["zero_cost.seed=5"])
    assert stage_status(changed, ZERO_COST).indices["stale"] == [0, 1, 2, 3]
    assert stage_status(changed, STAGES["collect"]).indices["missing"] == [0, 1, 2, 3]
    ZERO_COST.finalise(changed)
    assert bool(store(changed).score.isnull().all())  # nothing in it is of the settings of now
    run(changed)
    assert not store(changed).score.equals(before)
    same = ["synflow", "pnorm", "complexity"]
    assert store(changed).score.sel(proxy=same).equals(before.sel(proxy=same))


def test_a_proxy_that_fails_is_named_and_the_others_stay(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(subject: Any, batch: Any) -> dict[str, float]:
        raise RuntimeError("not here")

    monkeypatch.setitem(registry.PROXIES, "vkdnw", replace(registry.PROXIES["vkdnw"], compute=fails))
    experiment = initialize(tmp_path / "e", "demo", SETTINGS)
    run(experiment)
    found, others = store(experiment), store(load(made)).score
    failed = ["vkdnw_entropy", "vkdnw_tensors"]
    assert bool(found.score.sel(proxy=failed).isnull().all())
    assert set(found.note.sel(proxy=failed).values.ravel()) == {"RuntimeError: not here"}
    assert found.score.drop_sel(proxy=failed).equals(others.drop_sel(proxy=failed))
    assert verify.verify_digests(experiment, ZERO_COST, range(4)) == []


def test_asked_to_stop_it_leaves_no_marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = initialize(tmp_path / "e", "demo", SETTINGS)
    ZERO_COST.prepare(experiment)
    with monkeypatch.context() as patch:
        patch.setattr(StopFlag, "__call__", lambda self: True)
        assert execute(experiment, ZERO_COST, 0) == EXIT_STOPPED
    assert markers.load(experiment.layout.marker("zero-cost", 0)) is None
    assert execute(experiment, ZERO_COST, 0) == EXIT_DONE


def test_the_batch_is_drawn_from_the_split_that_is_named(made: Path) -> None:
    experiment = load(made)
    data = compute.device_data(experiment.settings(DataConfig), torch.device("cpu"), experiment.data_digest)
    batches = [
        draw_batch(data, ZeroCostConfig(batch_size=16, split=split)) for split in ("train", "validation")
    ]
    assert [batch.images.shape for batch in batches] == [(16, 1, 8, 8)] * 2
    assert not torch.equal(batches[0].images, batches[1].images)
    again = draw_batch(data, ZeroCostConfig(batch_size=16))
    assert torch.equal(again.images, batches[0].images)
    assert torch.equal(again.labels, batches[0].labels)
    everything = draw_batch(data, ZeroCostConfig(batch_size=10_000, split="validation"))
    assert len(everything.labels) == len(data.source.validation_labels)


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"zero_cost\.split"):
        ZeroCostConfig(split="test")
    with pytest.raises(ConfigError, match=r"zero_cost\.batch_size"):
        ZeroCostConfig(batch_size=1)


def test_a_marker_s_numbers_are_json(made: Path) -> None:
    def refuse(text: str) -> float:
        raise AssertionError(f"{text} is no JSON")

    for path in (made / "markers" / "zero-cost").glob("0*.json"):
        result = json.loads(path.read_bytes(), parse_constant=refuse)["result"]
        assert math.isfinite(result["seconds"])
        assert set(result["values"]) == set(result["proxy_seconds"]) == set(COLUMNS)


@pytest.mark.parametrize("name", ["unit/zarr.json", "score/zarr.json", "zarr.json", "meaning/c/0"])
def test_repair_makes_what_the_store_has_lost(made: Path, tmp_path: Path, name: str) -> None:
    root = shutil.copytree(made, tmp_path / "e")
    experiment, before = load(root), contents(made)
    (experiment.layout.zero_cost / name).write_bytes(b"{}")
    found = repair.damage(experiment, [ZERO_COST], None)
    repair.move_aside(experiment, found)
    assert repair.compute_again(experiment, [ZERO_COST], found, INLINE, Console(quiet=True)) == EXIT_DONE
    after = contents(root)
    store = f"{experiment.layout.zero_cost.name}/"
    assert {n: after.get(n) for n in before if n.startswith(store)} == {
        n: content for n, content in before.items() if n.startswith(store)
    }


def test_repair_of_an_index_leaves_the_store_until_it_is_gathered(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in between, an emptied store would stand beside a marker that vouches for a full one."""
    root = shutil.copytree(made, tmp_path / "e")
    experiment = load(root)
    experiment.layout.marker("zero-cost", 1).write_bytes(b"{}")
    found = repair.damage(experiment, [ZERO_COST], None)
    assert [each.index for each in found] == [1]
    repair.move_aside(experiment, found)
    replaced: list[Path] = []
    monkeypatch.setattr("stages.zero_cost.stage.create.replace", lambda path, *_: replaced.append(path))
    assert repair.compute_again(experiment, [ZERO_COST], found, INLINE, Console(quiet=True)) == EXIT_DONE
    assert replaced == []
