"""Resources from all their places, chains cut down to what is missing, and what is told of the queue; no cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cluster import ClusterOptions, resolve_resources, short_work, user_file
from pipeline.experiment import change, initialize, load
from pipeline.explain import explain_all
from pipeline.forecast import forecast
from pipeline.queue_view import QueueView
from pipeline.registry import STAGES
from pipeline.status import stage_status, with_queue
from slurm import controller
from slurm.controller import NEVER, QueuedTask
from slurm.errors import SlurmError
from slurm.ledger import Ledger, Submission
from stages.stage import Experiment

SMALL = ("architectures.number=12", "architectures.channels=2")
COLLECT = STAGES["collect"]


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
    experiment: Experiment, job: str, stage: str, groups: list[list[int]], *after: str
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
