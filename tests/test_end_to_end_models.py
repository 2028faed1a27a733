"""From a filled store to a ranking, on real digits: every stage after collection, its resume, its staleness."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from rich.console import Console

from pipeline import predict as prediction
from pipeline.execute import EXIT_DONE, execute
from pipeline.experiment import change, initialize, load
from pipeline.registry import STAGES
from pipeline.run import RunOptions, run_stage
from pipeline.status import stage_status
from pipeline.verify import verify_digests
from slurm.task import EXIT_FAILED
from stages.experiment import Experiment
from stages.nap2.feature_maps.config import InputsConfig
from stages.nap2.models import encode, plan
from stages.nap2.models.config import BigruConfig
from stages.nap2.models.errors import ModelError
from stages.nap2.models.predict import predict
from stages.settings import ConfigError
from stages.stage import Execution, Stopped
from stages.training import checkpoint
from storage_schema import markers, schema
from storage_schema.read import open_derived

NETWORKS = 24
SETTINGS = ("inputs.variants=maps mask initial shuffled weights",)
INLINE = RunOptions(cluster="inline")
QUIET = Console(quiet=True)


def run(experiment: Experiment, *stages: str) -> None:
    for name in stages:
        assert run_stage(experiment, STAGES[name], None, INLINE, QUIET) == EXIT_DONE


def everything(experiment: Experiment) -> dict[str, str]:
    """Content of all markers: identities and digests."""
    files = sorted(experiment.layout.root.glob("markers/*/*.json"))
    found = {f"{f.parent.name} {f.stem}": json.loads(f.read_bytes()) for f in files}
    return {name: json.dumps([m["identity"], m["digests"]]) for name, m in found.items()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models") / "source"
    experiment = initialize(root, "smoke", SETTINGS)
    run(experiment, *STAGES)
    return root


@pytest.fixture
def source(trained: Path, tmp_path: Path) -> Experiment:
    shutil.copytree(trained, tmp_path / "source")
    return load(tmp_path / "source")


@pytest.fixture
def target(trained: Path, tmp_path: Path) -> Experiment:
    """Other networks, collected; nothing else of them is known."""
    experiment = initialize(
        tmp_path / "target", "smoke", (*SETTINGS, "architectures.number=4", "architectures.slice=1")
    )
    run(experiment, "collect")
    return experiment


def test_all_stages_are_done_and_a_second_run_changes_nothing(source: Experiment) -> None:
    before = everything(source)
    for stage in STAGES.values():
        assert stage_status(source, stage).unfinished == []
        assert verify_digests(source, stage, range(stage.num_tasks(source))) == []
    run(source, *STAGES)
    assert everything(source) == before


def test_changed_settings_make_a_stage_and_what_follows_stale_and_no_other(source: Experiment) -> None:
    before = everything(source)
    changed = change(source.layout.root, ["bigru.epochs=2"])
    assert load(source.layout.root).settings(BigruConfig).epochs == 2
    assert len(stage_status(changed, STAGES["bigru"]).indices["stale"]) == 10
    assert stage_status(changed, STAGES["embed"]).unfinished == []
    said = Console(record=True, width=200)
    with said.capture() as shown:
        assert run_stage(changed, STAGES["bigru"], None, INLINE, said) == EXIT_DONE
    assert "bigru: 0-9 was done with other settings or inputs; computed again" in shown.get()
    assert len(stage_status(changed, STAGES["evaluate"]).indices["stale"]) == 2
    after = everything(changed)
    differing = {name.split()[0] for name in before if before[name] != after[name]}
    assert differing == {"bigru"}


def test_trials_that_other_models_scored_are_not_put_into_one_table(source: Experiment) -> None:
    table = source.layout.evaluation("in-domain") / "tau.md"
    before = table.read_text()
    changed = change(source.layout.root, ["inputs.variants=maps"])
    assert run_stage(changed, STAGES["evaluate"], [0], INLINE, QUIET) == EXIT_DONE
    assert table.read_text() == before
    run(changed, "evaluate")
    assert "NAP2 mask" in before
    assert "NAP2 mask" not in table.read_text()


def test_an_index_without_its_inputs_says_what_to_run(
    source: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    source.layout.marker("cae", "maps/0/all/gradients").unlink()
    source.layout.marker("embed", "maps/0/all").unlink()
    assert execute(source, STAGES["embed"], 0) == EXIT_FAILED
    assert "it needs cae 1, which is not done; run --stage cae first" in capsys.readouterr().err


def test_an_added_variant_leaves_the_others_done(source: Experiment) -> None:
    fewer = change(source.layout.root, ["inputs.variants=maps mask"])
    assert stage_status(fewer, STAGES["cae"]).unfinished == []
    assert stage_status(fewer, STAGES["bigru"]).unfinished == []
    assert stage_status(fewer, STAGES["evaluate"]).unfinished == [0, 1]


def execution(identity: str, stop_after: int | None = None) -> Execution:
    polls = 0

    def should_stop() -> bool:
        nonlocal polls
        polls += 1
        return stop_after is not None and polls >= stop_after

    return Execution(
        identity=identity, should_stop=should_stop, guard=nullcontext, progress=lambda share, note="": None
    )


def forget(key: str, change: Callable[[Any], Any]) -> Callable[[pytest.MonkeyPatch], None]:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        original = checkpoint.load

        def changed(*args: Any, **options: Any) -> Any:
            kept = original(*args, **options)
            return None if kept is None else {**kept, key: change(kept[key])}

        monkeypatch.setattr(checkpoint, "load", changed)

    return patch


def without_moments(state: dict[str, Any]) -> dict[str, Any]:
    """The optimizer's state as if it had just begun."""
    zeroed = {
        i: {k: v if k == "step" else torch.zeros_like(v) for k, v in each.items()}
        for i, each in state["state"].items()
    }
    return {**state, "state": zeroed}


def marker_of(experiment: Experiment, name: str, index: int = 0) -> Path:
    return experiment.layout.marker(name, STAGES[name].key(experiment, index))


def stopped_and_resumed(experiment: Experiment, name: str, stop_after: int) -> str:
    """Stop an index again and again, and return the digest of the weights it ends with."""
    stage = STAGES[name]
    path = marker_of(experiment, name)
    before = markers.load(path)
    assert before is not None
    path.unlink()
    shutil.rmtree(next(iter(stage.files(experiment, 0).values())).parent)
    stops = 0
    while True:
        try:
            outcome = stage.run(experiment, 0, execution(before.identity, stop_after))
        except Stopped:
            stops += 1
            continue
        assert stops > 1
        return outcome.digests["weights"]


@pytest.mark.parametrize("name", ["cae", "bigru"])
def test_stopped_and_resumed_a_model_has_the_same_bits(source: Experiment, name: str) -> None:
    undisturbed = markers.load(marker_of(source, name))
    assert undisturbed is not None
    assert stopped_and_resumed(source, name, 1) == undisturbed.digests["weights"]


@pytest.mark.parametrize("name", ["cae", "bigru"])
def test_negative_control_a_resume_that_forgets_the_moments_is_noticed(
    source: Experiment, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = markers.load(marker_of(source, name))
    assert undisturbed is not None
    forget("optimizer", without_moments)(monkeypatch)
    assert stopped_and_resumed(source, name, 1) != undisturbed.digests["weights"]


def test_another_trial_has_another_seed_and_the_same_trial_the_same(source: Experiment) -> None:
    settings = source.settings
    seeds = [plan.model_seed(settings, trial, "bigru") for trial in (0, 1, 0)]
    assert seeds[0] == seeds[2] != seeds[1]
    marker = markers.load(marker_of(source, "bigru"))
    assert marker is not None
    assert marker.result["seed"] == seeds[0]


def test_scores_in_domain_are_those_of_the_frozen_way(source: Experiment) -> None:
    scores = open_derived(source.layout.scores("in-domain", 1), "evaluate", schema.SCORES)
    tested = [int(i) for i in scores["index"].values]
    for method, variant in (("NAP2", 0), ("NAP2 mask", 1), ("NAP2 initial", 2), ("NAP2 weights", 4)):
        key = plan.ModelKey(source.settings(InputsConfig).chosen[variant], 1, "all")
        again = predict(source, key, source, tested, 3)
        kept = scores["score"].sel(predictor=method, size="all").values
        np.testing.assert_allclose(again, kept, rtol=1e-5, atol=1e-6)


def test_encoders_see_training_architectures_only(source: Experiment) -> None:
    """One that had seen test architectures would be a leak (R24): nothing of them is read."""
    for index in range(STAGES["cae"].num_tasks(source)):
        marker = markers.load(marker_of(source, "cae", index))
        assert marker is not None
        assert marker.result["architectures"] + marker.result["validation_maps"] // 3 <= NETWORKS


def test_predict_reads_no_label_of_the_target(source: Experiment, target: Experiment) -> None:
    model = prediction.find_model(str(source.layout.root), None, "maps")
    assert not target.layout.labels.exists()
    found = prediction.rank(target, model, None)
    assert sorted(row["index"] for row in found.rows) == [0, 1, 2, 3]
    shutil.rmtree(source.layout.root / "markers" / "labels")
    source.layout.labels.unlink()
    assert prediction.rank(target, model, None).rows == found.rows


def test_permuted_architectures_have_permuted_scores(source: Experiment, target: Experiment) -> None:
    key = prediction.find_model(f"{source.layout.root}/1", None, "shuffled").key
    scores = predict(source, key, target, [0, 1, 2, 3], 3)
    for order in ([3, 1, 0, 2], [2], [1, 3]):
        np.testing.assert_allclose(
            predict(source, key, target, order, 3), scores[order], rtol=1e-5, atol=1e-6
        )


def test_transfer_uses_batch_statistics_of_the_source(
    source: Experiment, target: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In train mode BatchNorm would use the target's: scores would depend on who else is ranked."""
    key = prediction.find_model(str(source.layout.root), None, "maps").key
    alone = predict(source, key, target, [1], 3)
    together = predict(source, key, target, [0, 1, 2, 3], 3)[1:2]
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(encode.Encoder, "eval", encode.Encoder.train)
    assert not np.allclose(predict(source, key, target, [0, 1, 2, 3], 3)[1:2], together, rtol=1e-3)


def test_fewer_snapshots_are_a_prefix(source: Experiment, target: Experiment) -> None:
    model = prediction.find_model(str(source.layout.root), None, "maps")
    every = predict(source, model.key, target, [0, 1, 2, 3], 3)
    one = {row["index"]: row["score"] for row in prediction.rank(target, model, 1).rows}
    np.testing.assert_allclose([one[i] for i in range(4)], every[:, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("file", ["weights.safetensors", "card.json"])
@pytest.mark.parametrize("part", ["weights", "gradients", "predictor"])
def test_an_altered_model_file_is_refused(
    source: Experiment, target: Experiment, part: str, file: str
) -> None:
    path = source.layout.model("maps/0/all") / part / file
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"{part}/{file} is not the file that was written"):
        predict(source, prediction.find_model(str(source.layout.root), None, "maps").key, target, [0], 1)


@pytest.mark.parametrize("setting", ["inputs.layer_cap=40", "cae.dtype=float64"])
def test_a_target_of_other_maps_is_refused(source: Experiment, target: Experiment, setting: str) -> None:
    other = change(target.layout.root, [setting])
    model = prediction.find_model(str(source.layout.root), None, "maps")
    name = setting.partition("=")[0].partition(".")[2]
    with pytest.raises(ModelError, match=f"{name}: .* at the source, .* at the target"):
        prediction.rank(other, model, None)


def test_a_target_of_other_features_is_refused(source: Experiment, target: Experiment) -> None:
    features = zarr.open_group(target.layout.dynamics, mode="r+")["feature"]
    features[:] = features[:][::-1]  # type: ignore[index]
    model = prediction.find_model(str(source.layout.root), None, "maps")
    with pytest.raises(
        ModelError, match=r"features: \['mean', .* at the source, \['quantiles', .* at the target"
    ):
        prediction.rank(target, model, None)


def test_a_source_that_is_gone_is_named(source: Experiment, tmp_path: Path) -> None:
    other = change(source.layout.root, [f"evaluation.sources={tmp_path / 'gone'}"])
    with pytest.raises(ConfigError, match=r"evaluation\.sources: .*gone is not an experiment"):
        stage_status(other, STAGES["evaluate"])


def test_a_loss_that_is_not_finite_names_epoch_batch_and_architectures(
    source: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = change(source.layout.root, ["cae.learning_rate=1e30", "cae.warmup=0"])
    assert execute(changed, STAGES["cae"], 0) == EXIT_FAILED
    said = capsys.readouterr().err
    assert "the loss is" in said
    assert "epoch 2, batch 1, of architectures" in said


def test_an_unfinished_store_is_refused_unless_allowed(source: Experiment) -> None:
    source.layout.marker("collect", 5).unlink()
    source.layout.marker("collect", 7).unlink()
    with pytest.raises(Exception, match=r"2 of 24 architectures are not finished \(5, 7\).*--allow-partial"):
        run_stage(source, STAGES["split"], None, INLINE, QUIET)
    partial = change(source.layout.root, ["splits.allow_partial=true"])
    run(partial, "split")
    marker = markers.load(source.layout.marker("split", 0))
    assert marker is not None
    assert marker.result["test"] + marker.result["validation"] + marker.result["train"]["all"] == 22


@pytest.mark.parametrize("label", ["1.5", ""])
def test_labels_missing_or_no_fractions_are_refused(source: Experiment, label: str) -> None:
    lines = source.layout.labels.read_text().splitlines()
    index, name, _, kind = lines[3].split(",")
    lines[3] = f"{index},{name},{label},{kind}"
    source.layout.labels.write_text("\n".join(lines) + "\n")
    with pytest.raises(Exception, match="architecture 2 has "):
        run_stage(source, STAGES["split"], None, INLINE, QUIET)


def test_transfer_scores_the_targets_test_architectures(
    source: Experiment, trained: Path, tmp_path: Path
) -> None:
    other = initialize(tmp_path / "other", "smoke", ("architectures.slice=1",))
    run(other, "collect", "labels", "split")
    other = change(
        other.layout.root, [f"evaluation.sources={source.layout.root}", "evaluation.in_domain=false"]
    )
    run(other, "baselines", "evaluate")
    scores = open_derived(other.layout.scores("from-source", 1), "evaluate", schema.SCORES)
    tested = json.loads((other.layout.split(1) / "test_files.json").read_bytes())["architectures"]
    assert scores["index"].values.tolist() == [entry["index"] for entry in tested]
    assert "from-source" in "\n".join(STAGES["evaluate"].report(other))
    retrained = replace(
        source, settings=source.settings.having(replace(source.settings(BigruConfig), epochs=1))
    )
    change(source.layout.root, ["bigru.epochs=1"])
    run(retrained, "bigru")
    assert stage_status(load(other.layout.root), STAGES["evaluate"]).indices["stale"] == [0, 1]
