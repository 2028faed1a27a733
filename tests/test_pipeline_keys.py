"""Results are named after what they are: reordered or removed they stay done, and only what is new is computed."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from baseline_scene import REFERENCES, run
from pipeline.entries import Entries
from pipeline.execute import EXIT_DONE, IndexTask, execute
from pipeline.experiment import change, initialize, load
from pipeline.gather import prepare
from pipeline.identity import Identities
from pipeline.predict import find_model
from pipeline.registry import STAGES
from pipeline.status import stage_status
from pipeline.verify import on_disk, verify_digests
from slurm.task import EXIT_FAILED
from stages.baselines import report, tasks
from stages.baselines.config import BaselinesConfig
from stages.experiment import Experiment
from stages.nap2.feature_maps.config import InputsConfig
from stages.scoring import results
from stages.stage import Input
from storage_schema import durable, lease, markers
from storage_schema.layout import file_name
from storage_schema.splits import read_by

KEYED = ("cae", "embed", "bigru", "baselines", "evaluate")
LATER = ("split", *KEYED)
SMALL = (
    "cae.epochs=1",
    "bigru.epochs=1",
    "inputs.variants=maps mask",
    "splits.sizes=5 all",
    f"baselines.methods={REFERENCES}, SoTL, early stop",
)
Times = dict[tuple[str, str], tuple[int, int]]


@pytest.fixture(scope="module")
def finished(smoke_collected: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("keys") / "e"
    shutil.copytree(smoke_collected, root)
    assert run(change(root, SMALL), *LATER) == EXIT_DONE
    return root


@pytest.fixture
def experiment(finished: Path, tmp_path: Path) -> Experiment:
    shutil.copytree(finished, tmp_path / "e")
    return load(tmp_path / "e")


def vouched(experiment: Experiment, *stages: str) -> Times:
    """Return when each marker was written, and by which execution."""
    return {
        (stage, path.stem): (path.stat().st_mtime_ns, found.fence)
        for stage in stages or KEYED
        for path in experiment.layout.markers(stage).glob("*.json")
        if path.stem != "shared" and (found := markers.load(path)) is not None
    }


def unfinished(experiment: Experiment) -> dict[str, list[int]]:
    found = {name: stage_status(experiment, STAGES[name]).unfinished for name in LATER}
    return {name: indices for name, indices in found.items() if indices}


def findings(experiment: Experiment) -> list[str]:
    return [
        line
        for stage in STAGES.values()
        for line in verify_digests(experiment, stage, on_disk(experiment, stage))
    ]


def test_another_order_recomputes_nothing_and_the_tables_follow_it(experiment: Experiment) -> None:
    before, table = vouched(experiment), experiment.layout.evaluation("in-domain") / "tau.md"
    turned = ", ".join(reversed(experiment.settings(BaselinesConfig).chosen))
    changed = change(
        experiment.layout.root,
        [f"baselines.methods={turned}", "inputs.variants=mask maps", "splits.sizes=all 5"],
    )
    assert STAGES["bigru"].key(changed, 0) == "mask/0/all" != STAGES["bigru"].key(experiment, 0)
    assert run(changed, *LATER) == EXIT_DONE
    assert vouched(changed) == before
    assert unfinished(changed) == {}
    assert findings(changed) == []
    text = table.read_text()
    assert text.index("size all") < text.index("size 5")
    assert text.index("NAP2 mask") < text.index("| NAP2  ") < text.index("early stop") < text.index("FLOPs")


def test_what_is_removed_recomputes_nothing_and_counts_again_when_it_is_back(experiment: Experiment) -> None:
    before = vouched(experiment, *KEYED[:-1])
    fewer = change(
        experiment.layout.root,
        [f"baselines.methods={REFERENCES}, early stop", "inputs.variants=mask", "splits.sizes=all"],
    )
    assert run(fewer, *LATER) == EXIT_DONE
    assert vouched(fewer, *KEYED[:-1]) == before
    assert findings(fewer) == [], "files of other settings are no damage"
    assert "NAP2 mask" in (fewer.layout.evaluation("in-domain") / "tau.md").read_text()
    again = change(fewer.layout.root, SMALL)
    assert run(again, *LATER) == EXIT_DONE
    assert vouched(again, *KEYED[:-1]) == before
    assert unfinished(again) == {}


def test_what_is_put_first_or_between_alone_is_computed(experiment: Experiment) -> None:
    before = vouched(experiment)
    more = change(
        experiment.layout.root,
        [
            f"baselines.methods=SoTL-E, {REFERENCES}, SoTL, early stop",
            "inputs.variants=initial maps mask",
            "splits.sizes=5 7 all",
        ],
    )
    assert run(more, *LATER) == EXIT_DONE
    after = vouched(more)
    assert {entry: after[entry] for entry in before if entry[0] != "evaluate"} == {
        entry: time for entry, time in before.items() if entry[0] != "evaluate"
    }
    new = {stage: {name for found, name in after.keys() - before.keys() if found == stage} for stage in KEYED}
    wanted = {
        stage: {
            file_name(key)
            for index in range(STAGES[stage].num_tasks(more))
            if any(
                part in (key := STAGES[stage].key(more, index))
                for part in ("initial", "/7", "size 7", "SoTL-E,")
            )
        }
        for stage in KEYED
    }
    assert new == wanted
    assert {stage: len(found) for stage, found in new.items()} == {
        "cae": 20, "embed": 10, "bigru": 10, "baselines": 4, "evaluate": 0
    }  # fmt: skip
    assert unfinished(more) == {}


def test_negative_control_a_changed_setting_still_recomputes(experiment: Experiment) -> None:
    before = vouched(experiment)
    changed = change(experiment.layout.root, ["bigru.max_learning_rate=0.004", "baselines.epoch_images=64"])
    assert run(changed, *LATER) == EXIT_DONE
    after = vouched(changed)
    renewed = {stage for (stage, name), time in before.items() if after[stage, name] != time}
    assert renewed == {"bigru", "baselines", "evaluate"}
    assert after.keys() == before.keys()


def test_other_seeds_of_the_split_recompute_what_is_trained_by_it(experiment: Experiment) -> None:
    changed = change(experiment.layout.root, ["splits.seed=43"])
    assert run(changed, "split") == EXIT_DONE
    for name in ("cae", "baselines"):
        stage = STAGES[name]
        assert len(stage_status(changed, stage).indices["stale"]) == stage.num_tasks(changed), name


def test_a_train_size_is_the_same_file_whatever_the_others_are(experiment: Experiment) -> None:
    marker = markers.load(experiment.layout.marker("split", 0))
    alone = change(experiment.layout.root, ["splits.sizes=all"])
    assert run(alone, "split") == EXIT_DONE
    single = markers.load(alone.layout.marker("split", 0))
    assert marker is not None
    assert single is not None
    assert single.digests["train"] == single.digests["train all"] == marker.digests["train all"]
    assert marker.digests["train"] not in (marker.digests["train 5"], marker.digests["train all"])
    read = Input("split", 0, reads=read_by("all"))
    assert (
        read.read_of(marker.digests)
        == read.read_of(single.digests)
        == Input("split", 0).read_of(single.digests)
    )


def test_sources_come_and_go_without_a_fit_of_the_others(experiment: Experiment, tmp_path: Path) -> None:
    for name in ("a", "a b ü" + "x" * 200):
        shutil.copytree(experiment.layout.root, tmp_path / name)
    paths = [str(tmp_path / name) for name in ("a", "a b ü" + "x" * 200)]
    target = initialize(
        tmp_path / "t", "smoke", ("architectures.slice=1", f"baselines.methods={REFERENCES}, SoTL")
    )
    assert run(target, "collect", "labels", "split") == EXIT_DONE
    target = change(target.layout.root, [f"evaluation.sources={paths[0]}"])
    assert run(target, "baselines") == EXIT_DONE
    before = vouched(target, "baselines")
    both = change(target.layout.root, [f"evaluation.sources={paths[1]},{paths[0]}"])
    assert run(both, "baselines") == EXIT_DONE
    after = vouched(both, "baselines")
    assert {entry: after[entry] for entry in before} == before
    assert len(after) == len(before) + 12  # two trials of four methods, and of one at two train sizes
    alone = change(target.layout.root, [f"evaluation.sources={paths[1]}", "evaluation.in_domain=false"])
    assert stage_status(alone, STAGES["baselines"]).unfinished == []
    assert STAGES["evaluate"].key(alone, 1) == f"from-a b ü{'x' * 200}/1"
    fewer = change(tmp_path / "a", ["splits.sizes=all"])
    assert run(fewer, "split") == EXIT_DONE
    assert unfinished(change(target.layout.root, [f"evaluation.sources={paths[0]}"])).keys() <= {
        "zero-cost", "cae", "embed", "bigru", "evaluate"
    }  # fmt: skip


# Of before keys


def old_identity(experiment: Experiment, stage: str, index: int) -> str:
    """What the code of before keys made of an index, written down here again."""
    each, digests = STAGES[stage], {}
    for one in each.inputs(experiment, index):
        marker = markers.load(one.marker(experiment.layout))
        assert marker is not None
        digests[f"{one.stage} {one.index}"] = {k: v for k, v in marker.digests.items() if " " not in k}
    settings = dict(each.settings(experiment, index) or {})
    if stage == "evaluate":
        names = [
            f"{v.name}/{settings['trial']}/{s}"
            for v in experiment.settings(InputsConfig).chosen
            for s in ("5", "all")
        ]
        settings["models"] = names
    content = {"experiment": experiment.identity, "stage": stage, "settings": settings, "inputs": digests}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def as_before_keys(experiment: Experiment) -> Experiment:
    """Make of a finished experiment what the code of before keys would have left."""
    layout, old = experiment.layout, {}
    for trial in (0, 1):
        marker = markers.load(layout.marker("split", trial))
        assert marker is not None
        whole = {name: value for name, value in marker.digests.items() if " " not in name}
        replace(marker, digests=whole).save(layout.marker("split", trial))
    for stage in KEYED:
        for index in range(STAGES[stage].num_tasks(experiment)):
            path = layout.marker(stage, STAGES[stage].key(experiment, index))
            marker = markers.load(path)
            assert marker is not None
            old[stage, index] = (path, replace(marker, index=index, key=""))
    for stage in KEYED:  # inputs are in the places of then before what reads them
        for index in range(STAGES[stage].num_tasks(experiment)):
            path, marker = old[stage, index]
            marker = replace(marker, identity=old_identity(experiment, stage, index))
            path.unlink()
            marker.save(layout.marker(stage, index))
    return experiment


@pytest.fixture
def legacy(experiment: Experiment) -> Experiment:
    return as_before_keys(experiment)


def test_results_of_before_keys_count_and_are_read(legacy: Experiment) -> None:
    before = vouched(legacy, *STAGES)
    assert {name for stage, name in before if stage == "bigru"} == {f"{i:05d}" for i in range(8)}
    assert unfinished(legacy) == {}
    assert findings(legacy) == []
    assert len(results.of_trial(legacy, "in-domain", 1)) == 7
    assert not [line for line in report.table(legacy) if "not scored" in line]
    assert find_model(str(legacy.layout.root), "all", "mask").key.size == "all"
    (legacy.layout.evaluation("in-domain") / "tau.md").unlink()
    assert run(legacy, *LATER) == EXIT_DONE
    assert vouched(legacy, *STAGES) == before
    assert (legacy.layout.evaluation("in-domain") / "tau.md").is_file()


def test_negative_control_of_another_index_they_do_not_count(legacy: Experiment) -> None:
    """Those behind what was put first are other results than their indices say; what stands before it stays."""
    more = change(legacy.layout.root, [f"baselines.methods={REFERENCES}, SoTL-E, SoTL, early stop"])
    stale = stage_status(more, STAGES["baselines"]).unfinished
    assert stale == tasks.indices(more, ["SoTL-E", "SoTL", "early stop"])
    assert findings(more) == []
    assert run(more, "baselines") == EXIT_DONE
    assert stage_status(more, STAGES["baselines"]).unfinished == []
    assert len(results.of_trial(more, "in-domain", 0)) == 8


def test_a_damaged_marker_of_before_keys_is_damage(legacy: Experiment) -> None:
    path = legacy.layout.marker("bigru", 1)
    legacy.layout.marker("bigru", 0).rename(path)
    assert len(findings(legacy)) == 1
    assert stage_status(legacy, STAGES["bigru"]).unfinished == [0, 1]


def test_computed_anew_neither_marker_is_left_on_the_way(
    legacy: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed there, with the settings changed back, the older one would vouch for files that are new in part."""
    changed = change(legacy.layout.root, ["bigru.epochs=2"])
    stage, seen = STAGES["bigru"], []

    def killed(*_arguments: object) -> object:
        seen.append([path.exists() for path in (before, named)])
        raise RuntimeError("killed")

    key = stage.key(changed, 2)
    before, named = changed.layout.marker("bigru", 2), changed.layout.marker("bigru", key)
    assert stage_status(changed, stage).indices["stale"] == list(range(8))
    with monkeypatch.context() as patch:
        patch.setattr(type(stage), "run", killed)
        assert execute(changed, stage, 2) == EXIT_FAILED
    assert seen == [[False, False]]
    assert changed.layout.failure("bigru", key).is_file()
    assert execute(changed, stage, 2) == EXIT_DONE
    assert [path.exists() for path in (before, named)] == [False, True]
    found = markers.load(named)
    assert found is not None
    assert (found.key, found.fence) == ("maps/1/5", 3)
    assert not changed.layout.failure("bigru", key).exists()


def test_an_index_that_older_code_has_is_left_to_it(
    legacy: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    layout, stage = legacy.layout, STAGES["bigru"]
    layout.marker("bigru", 0).unlink()
    mine = lease.Lease.acquire(layout.lease("bigru", 0), layout.lease_lock("bigru"), 0)
    assert execute(legacy, stage, 0) == EXIT_DONE
    assert "with older code, is at work on it; stepping aside" in capsys.readouterr().err
    assert not Identities(legacy).done(stage, 0)
    mine.release(finished=True)
    assert execute(legacy, stage, 0) == EXIT_DONE
    assert Identities(legacy).done(stage, 0)


# What lies about


def test_what_killed_writers_left_is_removed_of_the_done_and_left_of_others(experiment: Experiment) -> None:
    layout, stage = experiment.layout, STAGES["cae"]
    mine, others = layout.checkpoint("cae", "maps/0/5/weights"), layout.checkpoint("cae", "norms/0/5/weights")
    half = durable.beside(layout.marker("cae", "norms/0/5/weights"))
    for path in (mine, others, half):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    entries = Entries(experiment, stage)
    assert (entries.index(mine), entries.index(others)) == (0, None)
    assert entries.with_checkpoint() == {0}
    prepare(experiment, stage)
    assert [path.exists() for path in (mine, others, half)] == [False, True, False]
    assert stage_status(experiment, stage).unfinished == []


def test_a_marker_that_is_anothers_is_damage(experiment: Experiment) -> None:
    layout = experiment.layout
    layout.marker("embed", "maps/0/5").replace(layout.marker("embed", "maps/1/5"))
    assert "the marker is of embed maps/0/5" in findings(experiment)[0]


def test_markers_of_positions_stay_as_they_were(experiment: Experiment) -> None:
    record = json.loads(experiment.layout.marker("collect", 3).read_bytes())
    assert "key" not in record
    record = json.loads(experiment.layout.marker("evaluate", "in-domain/1").read_bytes())
    assert (record["key"], record["index"]) == ("in-domain/1", 1)


@pytest.mark.parametrize("name", KEYED)
def test_keys_are_all_different(experiment: Experiment, name: str) -> None:
    stage = STAGES[name]
    keys = [stage.key(experiment, index) for index in range(stage.num_tasks(experiment))]
    assert len(set(keys)) == len(keys) > 1


# What was submitted


@pytest.mark.parametrize(
    ("change_to", "said"),
    [
        ("FLOPs, parameters, layers, cell trees", "and is now 'FLOPs, in-domain, trial 0'"),
        (f"SoTL, {REFERENCES}", "and is now 'SoTL, in-domain, trial 0'"),
    ],
)
def test_a_task_whose_index_has_become_something_else_says_so_in_one_line(
    experiment: Experiment, capsys: pytest.CaptureFixture[str], change_to: str, said: str
) -> None:
    stage, root = STAGES["baselines"], str(experiment.layout.root)
    task = IndexTask(root, "baselines", keys={0: stage.key(experiment, 0)})
    change(experiment.layout.root, [f"baselines.methods={change_to}"])
    assert task(0) == EXIT_FAILED  # which nobody requeues
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"baselines 0 was 'parameters, in-domain, trial 0' when it was submitted {said}; ")
    assert line.endswith("; run the pipeline command again")


def test_a_task_beyond_the_last_index_says_so(
    experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    task = IndexTask(str(experiment.layout.root), "baselines", keys={99: "gone"})
    assert task(99) == EXIT_FAILED
    assert "baselines 99 was 'gone' when it was submitted and is now none" in capsys.readouterr().err


def test_a_task_whose_index_is_what_it_was_goes_on(experiment: Experiment) -> None:
    keys = {0: STAGES["baselines"].key(experiment, 0)}
    assert IndexTask(str(experiment.layout.root), "baselines", keys=keys)(0) == EXIT_DONE
