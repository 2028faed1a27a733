"""A proxy that changes or is added costs its own numbers alone; all else decides all of them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from rich.console import Console

from pipeline import verify
from pipeline.execute import EXIT_DONE, execute
from pipeline.experiment import change, initialize, load
from pipeline.registry import STAGES
from pipeline.run import RunOptions, run_stage
from pipeline.status import stage_status
from slurm.preemption import EXIT_STOPPED, StopFlag
from stages.experiment import Experiment
from stages.zero_cost.columns import COLUMNS, column_settings, store_settings
from stages.zero_cost.config import ZeroCostConfig
from stages.zero_cost.kept import kept_proxies
from stages.zero_cost.proxy import Batch, Column, Proxy, Subject
from stages.zero_cost.registry import PROXIES
from storage_schema import markers

SETTINGS = ("architectures.number=2", "architectures.channels=2", "zero_cost.batch_size=16")
ZERO_COST = STAGES["zero-cost"]
VKDNW = ("vkdnw_entropy", "vkdnw_tensors")


def run(experiment: Experiment) -> None:
    inline = RunOptions(cluster="inline")
    assert run_stage(experiment, ZERO_COST, None, inline, Console(quiet=True)) == EXIT_DONE


def marker(experiment: Experiment, index: int = 0) -> markers.Marker:
    found = markers.load(experiment.layout.marker("zero-cost", index))
    assert found is not None
    return found


def score(experiment: Experiment) -> xr.DataArray:
    return xr.open_zarr(experiment.layout.zero_cost, chunks=None).load().score


@pytest.fixture
def made(tmp_path: Path) -> Experiment:
    experiment = initialize(tmp_path / "e", "demo", SETTINGS)
    run(experiment)
    return experiment


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often each proxy is computed from here on."""
    counts = Counter[str]()

    def counting(name: str, proxy: Proxy) -> Any:
        def compute(subject: Subject, batch: Batch) -> Any:
            counts[name] += 1
            return proxy.compute(subject, batch)

        return compute

    for name, proxy in list(PROXIES.items()):
        monkeypatch.setitem(PROXIES, name, replace(proxy, compute=counting(name, proxy)))
    return counts


def raise_version(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Plant a proxy whose numbers are others than before."""
    before = PROXIES[name]

    def changed(subject: Subject, batch: Batch) -> dict[str, float]:
        return {column: value + 1 for column, value in before.compute(subject, batch).items()}

    monkeypatch.setitem(PROXIES, name, replace(before, version=before.version + 1, compute=changed))


def test_a_raised_version_computes_one_proxy_and_keeps_the_others(
    made: Experiment, computed: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, old = score(made), marker(made)
    run(made)
    assert not computed  # all is done
    raise_version(monkeypatch, "vkdnw")
    assert stage_status(made, ZERO_COST).indices["stale"] == [0, 1]
    run(made)
    assert computed == {"vkdnw": 2}
    after, new = score(made), marker(made)
    others = [name for name in COLUMNS if name not in VKDNW]
    assert after.sel(proxy=others).equals(before.sel(proxy=others))
    assert after.sel(proxy="vkdnw_tensors").equals(before.sel(proxy="vkdnw_tensors") + 1)
    for part in ("values", "proxy_seconds"):
        assert {n: new.result[part][n] for n in others} == {n: old.result[part][n] for n in others}
    assert new.result["notes"] == old.result["notes"]
    assert new.provenance["kept"] == [name for name in PROXIES if name != "vkdnw"]
    assert "kept" not in old.provenance
    assert stage_status(made, ZERO_COST).indices["done"] == [0, 1]
    assert verify.verify_digests(made, ZERO_COST, range(2)) == []


def test_notes_are_kept_with_their_numbers(
    tmp_path: Path, computed: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(subject: Subject, batch: Batch) -> dict[str, float]:
        raise ValueError("not of this network")

    experiment = initialize(tmp_path / "e", "demo", SETTINGS)
    monkeypatch.setitem(PROXIES, "jacov", replace(PROXIES["jacov"], compute=fails))
    run(experiment)
    raise_version(monkeypatch, "pnorm")
    run(experiment)
    assert computed["synflow"] == 2
    found = marker(experiment).result
    assert (found["values"]["jacov"], found["notes"]["jacov"]) == (None, "ValueError: not of this network")


def test_a_new_proxy_adds_its_column_and_nothing_else(
    made: Experiment, computed: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = score(made)

    def two(subject: Subject, batch: Batch) -> dict[str, float]:
        computed["two"] += 1
        return {"two": 2.0}

    proxy = Proxy(name="two", columns=(Column(name="two", meaning="2"),), source="nobody", compute=two)
    monkeypatch.setitem(PROXIES, "two", proxy)
    monkeypatch.setitem(COLUMNS, "two", proxy.columns[0])
    run(made)
    assert computed == {"two": 2}
    after = score(made)
    assert after.proxy.values.tolist() == [*before.proxy.values, "two"]
    assert after.sel(proxy=before.proxy).equals(before)
    assert after.sel(proxy="two").values.tolist() == [2.0, 2.0]
    # Taken away again, it costs nothing either.
    monkeypatch.delitem(PROXIES, "two")
    monkeypatch.delitem(COLUMNS, "two")
    run(made)
    assert computed == {"two": 2}
    assert score(made).equals(before)


def test_other_settings_keep_nothing(made: Experiment, computed: Counter[str]) -> None:
    """The negative control: the marker that is replaced is there, and no number of it is taken over."""
    run(change(made.layout.root, ["zero_cost.seed=5"]))
    assert computed == dict.fromkeys(PROXIES, 2)
    assert "kept" not in marker(load(made.layout.root)).provenance


def test_stopped_in_between_all_is_computed_again_to_the_same_numbers(
    made: Experiment, computed: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = score(made)
    raise_version(monkeypatch, "vkdnw")
    with monkeypatch.context() as patch:
        patch.setattr(StopFlag, "__call__", lambda self: True)
        assert execute(made, ZERO_COST, 0) == EXIT_STOPPED
    assert markers.load(made.layout.marker("zero-cost", 0)) is None  # gone before anything is written
    run(made)
    assert computed == {name: 2 if name == "vkdnw" else 1 for name in PROXIES}
    others = [name for name in COLUMNS if name not in VKDNW]
    assert score(made).sel(proxy=others).equals(before.sel(proxy=others))


def result(settings: str, **changed: Any) -> dict[str, Any]:
    return {"architecture": "a", "settings": settings, "values": dict.fromkeys(COLUMNS, 1.0)} | changed


def test_what_is_kept_depends_on_all_that_decides_a_number() -> None:
    config = ZeroCostConfig()
    now = store_settings(config, "one")
    assert kept_proxies(result(now), "a", now) == PROXIES
    assert kept_proxies(None, "a", now) == {}
    assert kept_proxies(result(now), "b", now) == {}
    assert kept_proxies(result(store_settings(config, "other")), "a", now) == {}
    for name, value in {"batch_size": 32, "split": "validation", "seed": 5, "threads": 2}.items():
        assert kept_proxies(result(store_settings(replace(config, **{name: value}), "one")), "a", now) == {}
    older = json.dumps(json.loads(now) | {"version": 1})
    assert kept_proxies(result(older), "a", now) == {}
    newer = json.dumps(json.loads(now) | {"versions": {"pnorm": 2}})
    assert set(kept_proxies(result(newer), "a", now)) == set(PROXIES) - {"pnorm"}
    fewer = {name: 1.0 for name in COLUMNS if name != "snip"}
    assert set(kept_proxies(result(now, values=fewer), "a", now)) == set(PROXIES) - {"gradients"}
    assert kept_proxies({}, "a", now) == {}


def test_first_versions_decide_what_they_decided_before_proxies_had_versions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Experiments that were made before stay done: these are the bytes in their identities and stores."""
    columns = ["synflow", "grad_norm", "snip", "naswot", "jacov", "pnorm", "wrcor"]
    columns += ["expressivity", "progressivity", "trainability", "complexity"]
    columns += ["vkdnw_entropy", "vkdnw_tensors"]
    assert column_settings(ZeroCostConfig()) == {
        "zero_cost.batch_size": 64,
        "zero_cost.split": "train",
        "zero_cost.seed": 4,
        "zero_cost.threads": 1,
        "columns": columns,
        "version": 2,
    }
    written = (
        f'{{"columns": {json.dumps(columns)}, "experiment": "b9a14b387c694c55", "version": 2, '
        '"zero_cost.batch_size": 64, "zero_cost.seed": 4, "zero_cost.split": "train", "zero_cost.threads": 1}'
    )
    assert store_settings(ZeroCostConfig(), "b9a14b387c694c55") == written
    raise_version(monkeypatch, "pnorm")
    assert column_settings(ZeroCostConfig())["versions"] == {"pnorm": 2}
