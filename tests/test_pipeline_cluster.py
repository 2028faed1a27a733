"""Resources from all their places, chains cut down to what is missing, and what is told of the queue; no cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from baseline_scene import REFERENCES
from pipeline.cluster import ClusterOptions, resolve_resources, short_work, user_file
from pipeline.cluster import submit as submit_stages
from pipeline.experiment import change, initialize, load
from pipeline.explain import explain_all
from pipeline.forecast import forecast
from pipeline.queue_view import QueueView
from pipeline.registry import STAGES
from pipeline.status import stage_status, with_queue
from slurm import controller
from slurm.controller import NEVER, Limits, QueuedTask
from slurm.errors import SlurmError
from slurm.ledger import Ledger, Submission
from slurm.submit import Job, Submitter
from stages.experiment import Experiment

SMALL = ("architectures.number=12", "architectures.channels=2")
COLLECT = STAGES["collect"]
BASELINES = STAGES["baselines"]


@pytest.fixture(autouse=True)
def no_user_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return initialize(tmp_path / "e", "smoke", SMALL)


def test_a_slurm_that_happens_to_be_here_is_not_chosen() -> None:
    """The cluster's tests may run at the same time, and a command without `--cluster` would submit to theirs."""
    assert not controller.answers()


def test_resources_come_from_profile_user_experiment_and_command_line(experiment: Experiment) -> None:
    user_file().parent.mkdir(parents=True)
    user_file().write_text('profile = "gtx1080ti"\nmem = "1G"\nqos = "long"\ntime = 10\npython = "mine"\n')
    change(experiment.layout.root, ["slurm.mem=2G", "slurm.time=20"])
    asked = ClusterOptions(sbatch=("time=30",))
    found = resolve_resources(load(experiment.layout.root), asked)
    assert found.options["partition"] == "gtx1080"
    assert found.options["qos"] == "long"
    assert found.options["mem"] == "2G"
    assert found.options["time"] == "30"
    assert found.python == "mine"
    assert resolve_resources(experiment, replace(asked, profile="cpu")).options.get("partition") is None


def test_cluster_settings_stay_when_others_change_and_are_no_part_of_the_identity(
    experiment: Experiment,
) -> None:
    root = experiment.layout.root
    change(root, ["slurm.partition=main"])
    change(root, ["bigru.epochs=7"])
    assert load(root).identity == experiment.identity
    assert resolve_resources(load(root), ClusterOptions()).options["partition"] == "main"


def test_a_wrong_setting_names_the_file_it_is_in(experiment: Experiment) -> None:
    change(experiment.layout.root, ["slurm.partiton=main"])
    with pytest.raises(
        SlurmError, match=r"experiment\.toml: unknown option 'partiton'; did you mean partition"
    ):
        resolve_resources(experiment, ClusterOptions())
    user_file().parent.mkdir(parents=True)
    user_file().write_text("mem = ")
    with pytest.raises(SlurmError, match=r"slurm\.toml is not valid TOML"):
        resolve_resources(experiment, ClusterOptions())


def test_short_indices_share_a_task_and_long_ones_do_not(experiment: Experiment, tmp_path: Path) -> None:
    long = initialize(tmp_path / "long", "smoke", (*SMALL, "recording.interval=100000"))
    labels, indices = STAGES["labels"], list(range(12))
    assert short_work(forecast(experiment, labels, indices).seconds, 12) == 2
    assert short_work(forecast(long, COLLECT, indices).seconds, 12) is None
    assert short_work(0.0, 0) is None


def submission(
    experiment: Experiment,
    job: str,
    stage: str,
    groups: list[list[int]],
    *after: str,
    keys: list[list[str]] | None = None,
) -> Submission:
    found = Submission(
        name=f"e-{stage}-{job}",
        stage=stage,
        indices=groups,
        after=list(after),
        resources={},
        code="c",
        submitted=float(job),
        job=job,
        keys=keys or [],
    )
    Ledger(experiment.layout.submissions).write(found)
    return found


def queued(
    job: str, task: int, state: str = "PENDING", reason: str = "Priority", restarts: int = 0
) -> QueuedTask:
    return QueuedTask(
        job=job,
        task=task,
        state=state,
        reason=reason,
        node="node1" if state == "RUNNING" else "",
        started="2026-01-01T00:00:00",
        elapsed="1:00",
        restarts=restarts,
    )


def view(experiment: Experiment, *tasks: QueuedTask) -> QueueView:
    folder = experiment.layout.submissions
    return QueueView(folder, Ledger(folder).submissions(), tasks)


def test_what_is_queued_is_queued_or_running_whatever_the_data_says(experiment: Experiment) -> None:
    submission(experiment, "7", "collect", [[0], [1, 2], [3]])
    seen = view(experiment, queued("7", 1), queued("7", 2, "RUNNING", restarts=2))
    status = with_queue(stage_status(experiment, COLLECT), seen.queued("collect"))
    assert status.indices["queued"] == [1, 2]
    assert status.indices["running"] == [3]
    assert status.unfinished == [0, *range(4, 12)]
    why = explain_all(experiment, COLLECT, status, seen, [0, 1, 3, 5])
    assert "before it began" in why[0].sentence
    assert "priority" in why[1].sentence
    assert "running on node1" in why[3].sentence
    assert "started again 2 times" in why[3].sentence
    assert why[5].sentence == "nobody has run it"


def test_all_behind_a_job_that_waits_in_vain_wait_in_vain(experiment: Experiment) -> None:
    submission(experiment, "1", "collect-then-labels", [[0]])
    submission(experiment, "2", "labels", [[0]], "1")
    submission(experiment, "3", "labels-then-split", [[0]], "2")
    submission(experiment, "4", "split", [[0]], "9")
    waiting = [queued(job, 0, reason="Dependency") for job in "234"]
    seen = view(experiment, queued("1", 0, reason=NEVER), *waiting)
    assert {job for (job, _), task in seen.tasks.items() if task.hopeless} == {"1", "2", "3"}


def keys(experiment: Experiment, groups: list[list[int]]) -> list[list[str]]:
    return [[BASELINES.key(experiment, index) for index in group] for group in groups]


def methods(experiment: Experiment, names: str) -> Experiment:
    return change(experiment.layout.root, [f"baselines.methods={names}"])


def seen_by(experiment: Experiment, monkeypatch: pytest.MonkeyPatch, *tasks: QueuedTask) -> QueueView:
    monkeypatch.setattr(controller, "queue", lambda _jobs: list(tasks))
    return QueueView.of(experiment)


def test_a_task_at_work_is_at_the_index_that_its_key_has_now(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, groups = methods(experiment, f"{REFERENCES}, SoTL"), [[0, 1], [8], [9]]
    submission(before, "7", "baselines", groups, keys=keys(before, groups))
    now = methods(before, f"SoTL-E, {REFERENCES}, SoTL")
    running = [queued("7", number, "RUNNING") for number in range(3)]
    seen = seen_by(now, monkeypatch, *running)
    assert sorted(seen.queued("baselines")) == [2, 3, 10, 11]
    assert seen.last_places("baselines")[10].target == "7_1"
    status = with_queue(stage_status(now, BASELINES), seen.queued("baselines"))
    assert status.indices["running"] == [2, 3, 10, 11]
    fewer = methods(now, REFERENCES)
    assert sorted(seen_by(fewer, monkeypatch, *running).queued("baselines")) == [0, 1]


def test_a_task_that_waits_for_an_index_that_moved_waits_in_vain(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, groups = methods(experiment, f"{REFERENCES}, SoTL"), [[8], [9]]
    submission(before, "7", "baselines", [[0], [1]], keys=keys(before, [[0], [1]]))
    submission(before, "8", "baselines", groups, keys=keys(before, groups))
    submission(before, "9", "baselines-then-evaluate", [[0]], "7", "8")
    waiting = [queued(job, number) for job, number in (("7", 0), ("7", 1), ("8", 0), ("8", 1), ("9", 0))]
    assert not any(task.hopeless for task in seen_by(before, monkeypatch, *waiting).tasks.values())
    now = methods(before, f"{REFERENCES}, early stop, SoTL")
    seen = seen_by(now, monkeypatch, *waiting)
    assert {place for place, task in seen.tasks.items() if task.hopeless} == {("8", 0), ("8", 1), ("9", 0)}
    status = with_queue(stage_status(now, BASELINES), seen.queued("baselines"))
    assert status.indices["queued"] == [0, 1]


def test_a_ledger_of_before_keys_means_positions(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = methods(experiment, f"{REFERENCES}, SoTL")
    path = (
        before.layout.submissions / submission(before, "7", "baselines", [[8], [9]]).name / "submission.json"
    )
    record = json.loads(path.read_text())
    del record["keys"]
    path.write_text(json.dumps(record))
    seen = seen_by(
        methods(before, f"SoTL-E, {REFERENCES}, SoTL"), monkeypatch, queued("7", 0), queued("7", 1)
    )
    assert sorted(seen.queued("baselines")) == [8, 9]


@pytest.mark.parametrize("wrong", [[["a"]], [["a"], ["b", "c"]], [["a"], [1]], "ab", [1, 2]])
def test_keys_that_are_not_those_of_the_indices_are_damage(experiment: Experiment, wrong: object) -> None:
    submission(experiment, "7", "baselines", [[8], [9]], keys=wrong)  # type: ignore[arg-type]
    with pytest.raises(SlurmError, match="is damaged"):
        QueueView.of(experiment)


def test_what_is_submitted_knows_what_its_indices_are(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []

    def submit(self: Submitter, job: Job) -> Submission:
        jobs.append(job)
        return submission(experiment, str(len(jobs)), job.stage, [list(group) for group in job.indices])

    monkeypatch.setattr(controller, "require", lambda: None)
    monkeypatch.setattr(controller, "limits", lambda: Limits(array=1000, jobs=None))
    monkeypatch.setattr(controller, "cancel", lambda targets, **_options: None)
    monkeypatch.setattr(controller, "queue", lambda jobs: [])
    monkeypatch.setattr(Submitter, "submit", submit)
    chosen = methods(experiment, REFERENCES)
    submit_stages(chosen, [BASELINES], [0, 2, 3], ClusterOptions(pack=2))
    array, link = jobs
    assert array.indices == [[0, 2], [3]]
    assert array.keys == keys(chosen, [[0, 2], [3]])
    assert [task.keys for task in array.tasks] == [  # type: ignore[attr-defined]
        {0: "parameters, in-domain, trial 0", 2: "FLOPs, in-domain, trial 0"},
        {3: "FLOPs, in-domain, trial 1"},
    ]
    assert (len(link.tasks), link.keys) == (1, ())


def test_a_recorded_failure_says_whose_fault_it_is(experiment: Experiment) -> None:
    for index, kind in ((0, "input or environment"), (1, "defect of this program")):
        path = experiment.layout.failure("collect", index)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"error": "E", "message": "m", "kind": kind}))
    status = stage_status(experiment, COLLECT)
    why = explain_all(experiment, COLLECT, status, view(experiment), [0, 1])
    assert (why[0].failure, why[1].failure) == ("bad input", "defect")


def test_where_no_queue_can_be_asked_it_is_said_and_the_data_still_told(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission(experiment, "7", "collect", [[0]])
    monkeypatch.setenv("PATH", "")
    assert "squeue is not on the PATH" in QueueView.of(experiment).silent


def test_a_damaged_ledger_is_named(experiment: Experiment) -> None:
    submission(experiment, "7", "collect", [[0]])
    (experiment.layout.submissions / "e-collect-7" / "submission.json").write_text("{")
    with pytest.raises(SlurmError, match="is damaged"):
        QueueView.of(experiment)


def test_a_task_of_other_code_is_refused(tmp_path: Path) -> None:
    # In a process of its own: a task swaps signal handlers, and leaves.
    program = (
        "from slurm.array_task import ArrayTask\n"
        f"ArrayTask(task=len, indices=(0,), folder={str(tmp_path)!r}, code={'0' * 16!r})()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"was submitted with code {'0' * 16}" in done.stderr
