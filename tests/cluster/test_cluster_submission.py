"""Submission, status and refusals on a real cluster."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import slurm_cluster
from client import LONG, MEMORY, Cluster

from pipeline.array_spec import parse_array
from slurm import controller
from storage_schema.write import file_digests

pytestmark = pytest.mark.cluster
OPERATORS = Path(__file__).parents[2] / "docs" / "operators.md"
Undisturbed = Callable[..., dict[str, str]]


def test_an_array_on_four_nodes(cluster: Cluster, undisturbed: Undisturbed) -> None:
    experiment = cluster.make()
    root = str(experiment.layout.root)
    run = ("run", "-e", root, "--stage", "collect", "--cluster", "slurm", MEMORY, "--pack", "1", "--wait")
    assert "12 done" in cluster.pipeline(*run)
    nodes = {cluster.log(experiment, i).partition(" on node")[2][:1] for i in range(12)}
    assert len(nodes) > 1, "all tasks ran on one node"
    for index in (0, 5, 11):
        assert file_digests(experiment.layout.dynamics, index) == undisturbed(index)
    assert "all done" in cluster.pipeline("run", "-e", root, "--stage", "collect", "--cluster", "slurm")
    again = cluster.submit(experiment)
    assert again == "", "what is done is not submitted"


def test_more_indices_than_an_array_may_have(cluster: Cluster) -> None:
    slurm_cluster.start(max_array_size=20)
    try:
        experiment = cluster.make("architectures.number=64", "recording.interval=1", "recording.snapshots=1")
        root = str(experiment.layout.root)
        run = ("run", "-e", root, "--stage", "collect", "--cluster", "slurm", MEMORY)
        told = json.loads(cluster.pipeline(*run, "--pack", "1", "--dry-run", "--json"))
        assert (told["arrays"], told["tasks"], told["indices_a_task"]) == (4, 64, 1)
        out = cluster.pipeline(*run, "--pack", "3", "--wait")
        assert "20 tasks" in out
        assert "2 tasks" in out
        assert cluster.done(experiment) == set(range(64))
    finally:
        slurm_cluster.start()


def test_two_runs_at_once_submit_each_index_once(cluster: Cluster) -> None:
    experiment = cluster.make(*LONG)
    with ThreadPoolExecutor(2) as both:
        jobs = [both.submit(cluster.submit, experiment, "--array", "0-3") for _ in range(2)]
    assert sorted(job.result() == "" for job in jobs) == [False, True]
    rows = cluster.slurm("squeue", "-h", "-r", "-o", "%F_%K").split()
    assert len(rows) == 5, f"four tasks and what gathers them: {rows}"


def test_a_controller_that_is_down(cluster: Cluster) -> None:
    experiment = cluster.make(*LONG)
    root = str(experiment.layout.root)
    cluster.submit(experiment, "--array", "0")
    slurm_cluster.stop_controller()
    try:
        assert "the queue is not known" in cluster.pipeline("status", "-e", root)
        refused = cluster.pipeline(
            "run", "-e", root, "--array", "1", "--stage", "collect", "--cluster", "slurm", code=2
        )
        assert "no Slurm controller answers" in refused
        assert "nothing was submitted" in refused
        assert len(refused.strip().splitlines()) == 1
        folders = [path.parent.name for path in (experiment.layout.submissions).glob("*/submission.json")]
        assert len(folders) == 2, "nothing half-submitted is left"
    finally:
        slurm_cluster.start()


def test_without_accounting(cluster: Cluster, undisturbed: Undisturbed) -> None:
    slurm_cluster.start(accounting=False)
    try:
        experiment = cluster.make()
        root = str(experiment.layout.root)
        cluster.pipeline(
            *(
                "run",
                "-e",
                root,
                "--stage",
                "collect",
                "--array",
                "0-1",
                "--cluster",
                "slurm",
                MEMORY,
                "--wait",
            ),
            code=1,  # ten others are missing
        )
        assert cluster.done(experiment) == {0, 1}
        assert "2 done, 10 missing" in cluster.pipeline("status", "-e", root, "--stage", "collect")
        assert file_digests(experiment.layout.dynamics, 1) == undisturbed(1)
    finally:
        slurm_cluster.start()


def test_too_little_memory_is_named(cluster: Cluster) -> None:
    experiment = cluster.make(*LONG)
    root = str(experiment.layout.root)
    cluster.submit(experiment, "--array", "0", "--sbatch=mem=60M")
    cluster.wait_until_idle()
    cluster.wait_for(
        lambda: "out of memory" in cluster.pipeline("status", "-e", root), 30, "accounting to know"
    )
    assert "retry --sbatch mem=" in cluster.pipeline("explain", "0", "-e", root)


def test_a_hopeless_array_is_given_up_and_what_failed_is_retried_elsewhere(cluster: Cluster) -> None:
    experiment = cluster.make()
    root = str(experiment.layout.root)
    cluster.pipeline("run", "-e", root, "--stage", "collect", "--array", "0", "--cluster", "inline")
    metadata = experiment.layout.dynamics / "weights" / "zarr.json"
    good = metadata.read_text()
    metadata.write_text("{")
    cluster.pipeline(
        *("run", "-e", root, "--stage", "collect", "--cluster", "slurm", MEMORY, "--wait"),
        *("--max-failures", "2", "--max-parallel", "1", "--pack", "1"),
        code=1,
    )
    failed = cluster.pipeline("status", "-e", root, "--stage", "collect", "--failed").strip()
    assert 2 <= len(parse_array(failed).indices) <= 4, "the others were not begun"
    metadata.write_text(good)
    retry = ("retry", "-e", root, "--failed", "--exclude-nodes", "node[2-4]", MEMORY, "--json")
    assert json.loads(cluster.pipeline(*retry))["submitted"]
    cluster.wait_until_idle()
    assert cluster.done(experiment) == {0, *parse_array(failed).indices}
    for index in parse_array(failed).indices:
        assert "on node1," in cluster.log(experiment, index)


def test_a_wrong_wish_is_quoted_with_the_option_it_came_from(cluster: Cluster) -> None:
    experiment = cluster.make()
    root = str(experiment.layout.root)
    run = ("run", "-e", root, "--stage", "collect", "--cluster", "slurm")
    wrong = {
        "partition=nowhere": ("invalid partition", "--sbatch"),
        "constraint=quantum": ("constraint = quantum", "--sbatch"),
        "mem=900G": ("mem = 900G", "--sbatch"),
        "partitoin=main": ("did you mean partition",),
        "array=1-3": ("set by pipeline itself",),
    }
    for wish, words in wrong.items():
        refused = cluster.pipeline(*run, f"--sbatch={wish}", code=2)
        assert len(refused.strip().splitlines()) == 1, refused
        assert all(word in refused for word in words), refused
    assert "out of range" in cluster.pipeline(*run, "--array", "0-12", code=2)
    assert "unknown profile" in cluster.pipeline(*run, "--profile", "gpu", code=2)
    assert list(experiment.layout.submissions.glob("*/submission.json")) == []
    cluster.pipeline("run", "-e", root, "--stage", "collect", "--dry-run", "--set", "slurm.partiton=main")
    settings = cluster.folder / "config" / "nap2-pipeline" / "slurm.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text('partiton = "main"\n')
    refused = cluster.pipeline(*run, code=2)
    assert str(settings) in refused
    assert "did you mean partition" in refused


def test_an_edited_program_does_not_change_what_is_queued(cluster: Cluster) -> None:
    experiment = cluster.make()
    job = cluster.submit(experiment, "--array", "0", "--sbatch=begin=now+1hour")
    kept = next(experiment.layout.submissions.glob("code/*/slurm/array_task.py"))
    kept.write_text(kept.read_text() + "\nEDITED = True\n")
    cluster.slurm("scontrol", "update", f"jobid={job}", "StartTime=now")
    cluster.wait_for(lambda: "finds" in cluster.log(experiment, 0), 60, "the task to refuse")
    assert "was submitted with code" in cluster.log(experiment, 0)
    assert cluster.done(experiment) == set()


def test_the_doctor_asks_every_node(cluster: Cluster) -> None:
    experiment = cluster.make("architectures.number=24")
    root = str(experiment.layout.root)
    found = json.loads(cluster.pipeline("doctor", "-e", root, "--on-nodes", "--json"))
    verdicts = {check["name"]: check["verdict"] for check in found}
    assert {verdicts[node] for node in slurm_cluster.NODES} == {"good"}, found
    other = shutil.which("python3", path="/usr/bin")
    if other is None or Path(other).resolve() == Path(sys.executable).resolve():
        pytest.skip("there is no other Python on this machine")
    cluster.pipeline("run", "-e", root, "--dry-run", "--cluster", "local", "--set", f"slurm.python={other}")
    settings = cluster.folder / "config" / "nap2-pipeline" / "slurm.toml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(f'python = "{other}"\n')
    wrong = json.loads(cluster.pipeline("doctor", "-e", root, "--on-nodes", "--json", code=1))
    assert {c["verdict"] for c in wrong if c["name"] in slurm_cluster.NODES} == {"bad"}


def test_controller_calls_of_a_large_submission_and_of_a_status(cluster: Cluster) -> None:
    """The log of the controller counts what was asked of it."""
    experiment = cluster.make("architectures.number=600")
    root, calls = str(experiment.layout.root), cluster.folder / "calls"
    shims = cluster.folder / "shims"
    shims.mkdir()
    for name in ("sbatch", "squeue", "sacct", "scontrol", "sacctmgr", "scancel", "sinfo"):
        real = shutil.which(name, path=slurm_cluster.environment()["PATH"])
        (shims / name).write_text(f'#!/bin/sh\necho {name} >> {calls}\nexec {real} "$@"\n')
        (shims / name).chmod(0o755)
    path = f"{shims}:{slurm_cluster.environment()['PATH']}"
    cluster.pipeline(
        *("run", "-e", root, "--stage", "collect", "--cluster", "slurm", MEMORY, "--pack", "1"),
        "--sbatch=begin=now+1hour",
        PATH=path,
    )
    counted = calls.read_text().split()
    print({name: counted.count(name) for name in set(counted)})
    assert counted.count("sbatch") == 2
    assert len(counted) <= 9
    calls.unlink()
    cluster.pipeline("status", "-e", root, PATH=path)
    counted = calls.read_text().split()
    assert counted.count("squeue") == 1
    assert counted.count("sacct") <= 1
    assert len(counted) <= 2


def test_ones_own_script_with_the_worker(cluster: Cluster, undisturbed: Undisturbed) -> None:
    experiment = cluster.make(name="runs/own")
    (text,) = re.findall(r"```bash\n(.*?)```", OPERATORS.read_text(encoding="utf-8"), flags=re.DOTALL)
    script = cluster.folder / "own.sh"
    script.write_text(text.replace("srun pipeline", f"srun {sys.executable} -m pipeline"))
    env = {**slurm_cluster.environment(), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        ["sbatch", str(script)], cwd=cluster.folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    cluster.wait_for(lambda: cluster.done(experiment) == {0, 1, 2}, 120, "three markers")
    assert file_digests(experiment.layout.dynamics, 2) == undisturbed(2)


def test_the_operators_commands(cluster: Cluster) -> None:
    (text,) = re.findall(
        r"```shell-session\n(.*?)```", OPERATORS.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    for line in text.strip().splitlines():
        words = shlex.split(line.removeprefix("$ pipeline "))
        cluster.pipeline(*(w.replace("runs/", f"{cluster.folder}/runs/") for w in words))


def test_limits_are_the_controllers(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", str(slurm_cluster.CONF))
    assert controller.limits() == controller.Limits(array=1001, jobs=20000)
