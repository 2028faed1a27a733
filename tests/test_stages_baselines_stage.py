"""The stage that runs every comparison method: what it reads, what it keeps, what is computed again."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from baseline_scene import EXECUTION, QUIET, REFERENCES, STAGE, only, plain, run, scores_of
from pipeline.commands.run import show_run
from pipeline.execute import EXIT_DONE, execute
from pipeline.experiment import change, initialize
from pipeline.registry import STAGES
from pipeline.run import RunOptions, run_stage
from pipeline.status import stage_status
from pipeline.verify import verify_digests
from slurm.task import EXIT_FAILED
from stages.baselines import fit, registry, report, tasks
from stages.baselines.config import BaselinesConfig
from stages.baselines.method import Floats, Method, Prefix, UnmetNeedError
from stages.baselines.trace import read_prefix
from stages.experiment import Experiment
from stages.scoring import results
from stages.settings import ConfigError
from storage_schema import markers, splits
from storage_schema.read import StoreError, open_dynamics

ROOT = Path(__file__).parents[1]


@pytest.fixture
def experiment(smoke_experiment: Experiment) -> Experiment:
    return smoke_experiment


def test_label_free_methods_take_an_index_a_trial_and_learned_ones_one_a_fit(experiment: Experiment) -> None:
    opened = only(experiment, "SoTL", "LcSVR")
    found = [part.facts["key"] for part in opened.parts("baselines", source="in-domain", trial=1)]
    assert found == [
        "parameters, in-domain, trial 1",
        "FLOPs, in-domain, trial 1",
        "layers, in-domain, trial 1",
        "cell trees, in-domain, trial 1, train size all",
        "SoTL, in-domain, trial 1",
        "LcSVR, in-domain, trial 1, train size all, snapshot 1",
        "LcSVR, in-domain, trial 1, train size all, snapshot 2",
        "LcSVR, in-domain, trial 1, train size all, snapshot 3",
    ]
    assert STAGE.num_tasks(opened) == 2 * len(found)
    assert [str(tasks.find(opened, i)[1]) for i in tasks.indices(opened, ["SoTL"])] == [
        "SoTL, in-domain, trial 0",
        "SoTL, in-domain, trial 1",
    ]


def test_an_added_method_leaves_the_others_done(experiment: Experiment) -> None:
    run(only(experiment), "baselines")
    opened = only(experiment, "SoTL")
    assert stage_status(opened, STAGE).unfinished == tasks.indices(opened, ["SoTL"])


def test_scores_are_those_of_the_prefix_at_each_snapshot(experiment: Experiment) -> None:
    opened = only(experiment, "SoTL")
    assert run(opened, "baselines") == EXIT_DONE
    test = splits.read(opened.layout.split(0), 24).test
    losses = open_dynamics(opened.layout.dynamics)["curves"].sel(curve="training_loss").values[list(test)]
    (found,) = scores_of(opened, "SoTL")
    for row, step in zip(found.scores, (3, 6, 9), strict=True):
        np.testing.assert_allclose(row, -losses[:, :step].astype(np.float64).sum(1), rtol=1e-12)


def test_a_prefix_holds_nothing_after_its_snapshot(experiment: Experiment) -> None:
    method = registry.METHODS["early stop"]
    everything, until = (read_prefix(experiment, [4, 1], snapshot, method) for snapshot in (3, 2))
    assert until.training_loss.shape == (2, 6)
    assert until.validation_accuracy.shape == (2, 2)
    np.testing.assert_array_equal(until.training_loss, everything.training_loss[:, :6])
    np.testing.assert_array_equal(until.validation_accuracy, everything.validation_accuracy[:, :2])
    np.testing.assert_allclose(until.epochs, [3 / 34, 6 / 34])
    assert until.architectures == tuple(experiment.architectures[i] for i in (4, 1))


def test_what_a_method_does_not_need_is_not_read(experiment: Experiment) -> None:
    shutil.rmtree(experiment.layout.dynamics)
    assert read_prefix(experiment, [0], 2, registry.METHODS["cell trees"]).training_loss.shape == (1, 0)


def test_a_rerun_gives_the_same_scores_and_markers_vouch_for_them(experiment: Experiment) -> None:
    opened = only(experiment, "LcSVR")
    run(opened, "baselines")
    before = [
        markers.load(path).digests for path in sorted(opened.layout.markers("baselines").glob("*trial*"))
    ]  # type: ignore[union-attr]
    shutil.rmtree(opened.layout.markers("baselines"))
    run(opened, "baselines")
    paths = sorted(opened.layout.markers("baselines").glob("*trial*"))
    found = [markers.load(path) for path in paths]
    assert [marker.digests for marker in found if marker] == before
    assert [STAGE.digests(opened, marker) for marker in found if marker] == before
    content = json.loads(paths[0].read_text())
    content["result"]["scores"][0][0] += 1
    del content["sha256"]
    paths[0].write_text(json.dumps(content))
    altered = markers.load(paths[0])
    assert altered is not None
    assert STAGE.digests(opened, altered) != altered.digests


def test_a_fit_that_failed_is_tried_once_a_run(experiment: Experiment, register: None) -> None:
    """Workers of a run walk over the same indices: an hour of a fit that fails is not spent by each of them."""
    tried: list[int] = []

    def broken(prefix: Prefix) -> Floats:
        tried.append(1)
        raise ZeroDivisionError("a mistake of ours")

    registry.METHODS["broken"] = plain("broken", broken)
    opened = only(experiment, "broken")
    index = tasks.indices(opened, ["broken"])[0]
    codes = [execute(opened, STAGE, index, run=run) for run in ("first", "first", "second", "second", "", "")]
    assert codes == [EXIT_FAILED] * 6
    assert len(tried) == 4  # once in each run, and whenever it is not one of a run's workers


def test_a_stage_that_others_need_ends_the_walk(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> object:
        raise UnmetNeedError("there is no encoder")

    monkeypatch.setattr(type(STAGES["cae"]), "run", broken)
    assert (
        show_run(experiment, list(STAGES.values()), None, RunOptions(cluster="inline"), as_json=True)
        == EXIT_FAILED
    )
    assert stage_status(experiment, STAGES["evaluate"]).unfinished == [0, 1]
    assert not scores_of(experiment, "parameters")


def test_proxies_that_come_later_make_what_reads_them_stale(experiment: Experiment) -> None:
    opened = only(experiment, "SynFlow")
    run(opened, "baselines")
    (found,) = scores_of(opened, "SynFlow")
    assert "zero-cost" in found.notes[0]
    run(opened, "zero-cost")
    assert stage_status(opened, STAGE).indices["stale"] == tasks.indices(opened, ["SynFlow"])
    run(opened, "baselines")
    (found,) = scores_of(opened, "SynFlow")
    assert np.isfinite(found.scores).any()  # a network that is cut through has none


def test_a_part_of_the_proxies_is_no_score_and_says_so(experiment: Experiment) -> None:
    """Networks that have not been through the stage would rank last, as if they had failed."""
    opened = only(experiment, "SynFlow", "cell trees + zero-cost")
    tested = splits.read(opened.layout.split(0), 24).test
    done = sorted({0, 1, *tested[:1]})
    run_stage(opened, STAGES["zero-cost"], done, RunOptions(cluster="inline"), QUIET)
    assert run(opened, "baselines") == EXIT_DONE
    for name in ("SynFlow", "cell trees + zero-cost"):
        (found,) = scores_of(opened, name)
        assert np.isnan(found.scores).all()
        assert "architectures are missing: compute them by `run --stage zero-cost`" in found.notes[0]
    prepared = opened.layout.zero_cost
    shutil.rmtree(prepared)
    STAGES["zero-cost"].prepare(opened)  # empty
    run(opened, "baselines")
    assert np.isnan(scores_of(opened, "SynFlow")[0].scores).all()


def test_proxies_of_other_settings_are_none(experiment: Experiment) -> None:
    opened = only(experiment, "SynFlow", "SoTL")
    run(opened, "zero-cost", "baselines")
    assert scores_of(opened, "SynFlow")
    changed = change(opened.layout.root, ["zero_cost.seed=5"])
    assert not scores_of(changed, "SynFlow"), "of another time"
    assert stage_status(changed, STAGE).indices["stale"] == tasks.indices(changed, ["SynFlow"])
    run(changed, "baselines")
    (found,) = scores_of(changed, "SynFlow")
    assert np.isnan(found.scores).all()
    assert "zero-cost proxies are missing" in found.notes[0]
    assert scores_of(changed, "SoTL")
    run(changed, "zero-cost", "baselines")
    assert np.isfinite(scores_of(changed, "SynFlow")[0].scores).any()


def test_scores_of_other_settings_are_passed_over(experiment: Experiment) -> None:
    opened = only(experiment, "SoTL")
    run(opened, "baselines")
    changed = change(opened.layout.root, ["baselines.epoch_images=64"])
    assert not scores_of(changed, "SoTL")
    assert any(line.startswith("– SoTL: not scored") for line in report.table(changed))
    run(changed, "baselines")
    assert scores_of(changed, "SoTL")


def test_trust_in_a_pickle_is_asked_for_by_its_setting_and_makes_the_method_stale(
    experiment: Experiment, tmp_path: Path
) -> None:
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"no pickle")
    only(experiment)
    opened = change(
        experiment.layout.root,
        [f"baselines.lc_pfn_weights={weights}", f"baselines.methods={REFERENCES}, LC-PFN"],
    )
    run(opened, "baselines")
    (found,) = scores_of(opened, "LC-PFN")
    assert "--set baselines.trust_lc_pfn_pickle=true" in found.notes[1]
    trusting = change(opened.layout.root, ["baselines.trust_lc_pfn_pickle=true"])
    assert stage_status(trusting, STAGE).indices["stale"] == tasks.indices(trusting, ["LC-PFN"])


def test_a_package_that_is_installed_later_makes_its_method_stale(
    experiment: Experiment, register: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unmet(prefix: Prefix) -> Floats:
        raise UnmetNeedError("needs the package a-b")

    registry.METHODS["extra"] = replace(plain("extra", unmet), package="a-b", install="")
    opened = only(experiment, "extra")
    assert run(opened, "baselines") == EXIT_DONE
    assert stage_status(opened, STAGE).unfinished == []
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0")
    assert stage_status(opened, STAGE).indices["stale"] == tasks.indices(opened, ["extra"])


def test_scores_of_other_splits_are_passed_over(experiment: Experiment) -> None:
    run(only(experiment, "SoTL"), "baselines")
    changed = change(experiment.layout.root, ["splits.seed=7"])
    assert scores_of(changed, "SoTL")
    run(changed, "split")
    assert not scores_of(changed, "SoTL")


def test_a_source_is_fitted_to_its_own_labels_and_scores_the_targets_networks(
    experiment: Experiment, tmp_path: Path
) -> None:
    target = initialize(tmp_path / "t", "smoke", ("architectures.slice=1", "architectures.number=20"))
    run(target, "collect", "labels", "split")
    opened = change(tmp_path / "t", [f"evaluation.sources={experiment.layout.root}"])
    opened = only(opened, "SoTL")
    assert run(opened, "baselines") == EXIT_DONE
    own, foreign = (scores_of(opened, "cell trees", name)[0].scores for name in ("in-domain", "from-e"))
    assert own.shape == foreign.shape
    assert not np.array_equal(own, foreign)
    sums = [scores_of(opened, "SoTL", name)[0].scores for name in ("in-domain", "from-e")]
    np.testing.assert_array_equal(*sums)
    shutil.rmtree(experiment.layout.dynamics)  # of the source; what learns nothing reads nothing of it
    shutil.rmtree(opened.layout.markers("baselines"))
    run_stage(opened, STAGE, tasks.indices(opened, ["SoTL"]), RunOptions(cluster="inline"), QUIET)
    np.testing.assert_array_equal(scores_of(opened, "SoTL", "from-e")[0].scores, sums[1])


def test_nobodys_label_but_the_training_networks_is_read(experiment: Experiment, register: None) -> None:
    seen: list[Floats] = []

    def fit(train: Prefix, labels: Floats, seed: int) -> object:
        seen.append(labels)
        return lambda prefix: np.arange(len(prefix.architectures), dtype=float)

    registry.METHODS["spy"] = Method(name="spy", kind="cell", fit=fit, source="test")  # type: ignore[arg-type]
    opened = only(experiment, "spy")
    run(opened, "baselines")
    for trial in (0, 1):
        split = splits.read(opened.layout.split(trial), 24)
        np.testing.assert_array_equal(seen[trial], [split.labels[i] for i in split.train["all"]])


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (f"{REFERENCES}, sotle", "unknown method 'sotle'; did you mean 'SoTL-E'"),
        (f"{REFERENCES}, SoTL, sotl", "names one twice"),
        ("SoTL", "lacks parameters, FLOPs, layers, cell trees"),
        (f"{REFERENCES}, LC-PFN", "baselines.lc_pfn_weights"),
    ],
)
def test_wrong_methods_are_named(methods: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        BaselinesConfig(methods=methods)


def test_a_method_is_added_as_the_document_says(experiment: Experiment, register: None) -> None:
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    (code,) = re.findall(
        r"`stages/baselines/methods/loss_drop.py`:\n\n```python\n(.*?)```", text, flags=re.DOTALL
    )
    assert len(code.splitlines()) <= 25
    module = ModuleType("loss_drop")
    exec(compile(code, "docs/extending.md", "exec"), module.__dict__)
    registry.METHODS["loss drop"] = module.LOSS_DROP
    opened = only(experiment, "loss drop")
    assert run(opened, "baselines") == EXIT_DONE
    (found,) = scores_of(opened, "loss drop")
    assert found.notes == {1: "it needs 6 mini-batches; take a later snapshot"}
    test = list(splits.read(opened.layout.split(0), 24).test)
    stored = open_dynamics(opened.layout.dynamics)["curves"].sel(curve="training_loss").values[test]
    losses = stored.astype(np.float64)  # as in a prefix: losses that are nearly equal cancel in float32
    np.testing.assert_array_equal(found.scores[2], losses[:, :3].mean(1) - losses[:, 6:9].mean(1))


def test_what_counts_as_done_is_in_the_tables_and_what_is_not_is_not(experiment: Experiment) -> None:
    """One truth: whatever a marker lacks, the stage would compute it again where the tables pass it over."""
    opened = only(experiment, "SynFlow", "LcSVR", "SoTL")
    run(opened, "zero-cost", "baselines")
    for settings in ([], ["baselines.epoch_images=64"], ["zero_cost.seed=5"], ["splits.seed=3"]):
        changed = change(opened.layout.root, settings) if settings else opened
        if settings == ["splits.seed=3"]:
            run(changed, "split")
        done = set(range(STAGE.num_tasks(changed))) - set(stage_status(changed, STAGE).unfinished)
        read = {each.index for trial in (0, 1) for each in results.of_trial(changed, "in-domain", trial)}
        assert done == read, settings


def test_a_new_version_of_a_method_is_computed_again(experiment: Experiment, register: None) -> None:
    registry.METHODS["mine"] = plain("mine", lambda prefix: np.arange(len(prefix.architectures)))
    opened = only(experiment, "mine")
    assert run(opened, "baselines") == EXIT_DONE
    registry.METHODS["mine"] = replace(registry.METHODS["mine"], version=2)
    assert stage_status(opened, STAGE).indices["stale"] == tasks.indices(opened, ["mine"])


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (lambda prefix: np.full(len(prefix.architectures), np.inf), "infinite"),
        (lambda prefix: [1.0], r"shape \(1,\) for"),
    ],
)
def test_scores_that_cannot_be_are_a_failure(
    experiment: Experiment, register: None, score: object, said: str
) -> None:
    registry.METHODS["odd"] = plain("odd", score)
    opened = only(experiment, "odd")
    with pytest.raises(ValueError, match=said):
        fit.fit_and_score(opened, *tasks.find(opened, tasks.indices(opened, ["odd"])[0]), EXECUTION)


def test_scores_of_proxies_that_are_gone_are_damage(experiment: Experiment) -> None:
    opened = only(experiment, "SynFlow")
    run(opened, "zero-cost")
    shutil.rmtree(opened.layout.zero_cost / "score" / "c")
    with pytest.raises(StoreError, match="scores are gone; run `pipeline repair`"):
        fit.fit_and_score(opened, *tasks.find(opened, tasks.indices(opened, ["SynFlow"])[0]), EXECUTION)


def test_a_damaged_marker_is_found_and_hides_nothing_else(experiment: Experiment) -> None:
    opened = only(experiment, "SoTL")
    run(opened, "baselines")
    index = tasks.indices(opened, ["SoTL"])[0]
    opened.layout.marker("baselines", STAGE.key(opened, index)).write_text("{")
    assert stage_status(opened, STAGE).unfinished == [index]
    assert len(verify_digests(opened, STAGE, [index])) == 1
    assert len(stage_status(opened, STAGES["evaluate"]).indices["missing"]) == 2
    assert not scores_of(opened, "SoTL")
    assert scores_of(opened, "cell trees")


def test_the_lease_is_kept_alive_during_a_fit_that_calls_nobody(
    experiment: Experiment, register: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, threads = [], []

    def should_stop() -> bool:
        calls.append(threading.current_thread().name)
        return False

    def slow(train: Prefix, labels: Floats, seed: int) -> object:
        before, end = len(calls), time.monotonic() + 20
        while len(calls) < before + 3 and time.monotonic() < end:
            time.sleep(0.01)
        threads.append(set(calls[before:]))
        return lambda prefix: np.arange(len(prefix.architectures), dtype=float)

    monkeypatch.setattr("stages.stage.BEAT_SECONDS", 0.01)
    registry.METHODS["slow"] = Method(name="slow", kind="cell", fit=slow, source="test")  # type: ignore[arg-type]
    opened = only(experiment, "slow")
    source, task = tasks.find(opened, tasks.indices(opened, ["slow"])[0])
    fit.fit_and_score(opened, source, task, replace(EXECUTION, should_stop=should_stop))
    assert threads == [{"lease"}]
    ended = len(calls)
    time.sleep(0.05)
    assert len(calls) == ended
