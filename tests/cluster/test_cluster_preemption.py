"""Whatever stops a task on a real cluster, it goes on where it was, to the same bytes."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable

import pytest
import slurm_cluster
from client import LONG, SLICED, Cluster

from stages.experiment import Experiment
from storage_schema import lease
from storage_schema.write import file_digests

pytestmark = pytest.mark.cluster
Undisturbed = Callable[..., dict[str, str]]
Figure = Callable[[str], None]


def begin(cluster: Cluster, *words: str, settings: tuple[str, ...] = LONG) -> tuple[Experiment, str]:
    """Submit index 0 of a long experiment, and wait until it is at work and has saved."""
    experiment = cluster.make(*settings)
    job = cluster.submit(experiment, "--array", "0", *words)
    cluster.wait_for(lambda: cluster.step(experiment, 0) > 0, 90, "the first checkpoint")
    return experiment, job


def end(
    cluster: Cluster, experiment: Experiment, undisturbed: Undisturbed, settings: tuple[str, ...] = LONG
) -> str:
    """Wait for the end, compare the bytes; returns the log."""
    cluster.wait_for(lambda: 0 in cluster.done(experiment) or cluster.idle(), 400, "the marker")
    assert 0 in cluster.done(experiment), cluster.log(experiment, 0)
    assert file_digests(experiment.layout.dynamics, 0) == undisturbed(0, *settings)
    return cluster.log(experiment, 0)


def stopped(cluster: Cluster, experiment: Experiment, asked: float) -> str:
    """Wait until a task that was warned has said that it stops; returns what that cost."""
    cluster.wait_for(lambda: "stopped by" in cluster.log(experiment, 0), 60, "the stop")
    saved = experiment.layout.checkpoint("collect", 0).stat().st_mtime
    return f"saved {max(0.0, saved - asked):.1f} s after it, no mini-batch lost"


def test_a_requeued_task_goes_on(cluster: Cluster, undisturbed: Undisturbed, figure: Figure) -> None:
    experiment, job = begin(cluster)
    asked = time.time()
    cluster.slurm("scontrol", "requeue", job)
    cost = stopped(cluster, experiment, asked)
    log = end(cluster, experiment, undisturbed)
    figure(f"scontrol requeue: {cost}, no rerun, byte-equal")
    assert "stopped by SIGTERM: Slurm has decided already" in log
    assert "restarts 1" in log
    assert "restarts 2" not in log


@pytest.mark.parametrize("user_signal", [True, False], ids=["user-signal", "no-user-signal"])
@pytest.mark.parametrize(
    "partition", ["main", "nograce", "cancel"], ids=["grace-5", "grace-0", "cancel-mode"]
)
def test_a_preempted_task_goes_on(
    partition: str, user_signal: bool, cluster: Cluster, undisturbed: Undisturbed, figure: Figure
) -> None:
    slurm_cluster.start(user_signal=user_signal)
    experiment, _ = begin(cluster, f"--sbatch=partition={partition}")
    rush = ("sbatch", "-p", "urgent", "-N4", "--exclusive", "--mem=3900", "-o", "/dev/null")
    asked = time.time()
    assert "Submitted" in cluster.slurm(*rush, "--wrap", "srun sleep 3")
    cost = stopped(cluster, experiment, asked)
    assert f"saved at mini-batch {cluster.step(experiment, 0)} of 720" in cluster.log(experiment, 0)
    log = end(cluster, experiment, undisturbed)
    assert re.search(r"restarts 1", log)
    warned = "with" if user_signal else "without"
    figure(f"preemption from {partition}, {warned} user signal: {cost}, no rerun, byte-equal")


def test_the_time_limit_is_no_error(cluster: Cluster, undisturbed: Undisturbed, figure: Figure) -> None:
    """A slice works until it has saved and sleeps until it is warned: on any machine it is long enough, and ends."""
    experiment, job = begin(cluster, "--sbatch=time=60", "--sbatch=signal=USR2@1")
    fall_asleep(experiment)
    elapsed = cluster.slurm("squeue", "-h", "-j", job, "-o", "%M")
    start = sum(int(part) * 60**place for place, part in enumerate(reversed(elapsed.split(":"))))
    # Slurm looks every 30 s, and warns whom the next look would find within a second of the limit.
    minutes = math.ceil((2 * start + 31) / 60)
    cluster.slurm("scontrol", "update", f"jobid={job}", f"TimeLimit={minutes}")
    slice_seconds, warned = 60 * minutes + 30, "stopped by SIGUSR2: requeued"
    cluster.wait_for(lambda: warned in cluster.log(experiment, 0), slice_seconds, "the first warning")
    saved = cluster.step(experiment, 0)
    cluster.wait_for(lambda: cluster.step(experiment, 0) > saved, slice_seconds, "the second slice's work")
    fall_asleep(experiment)
    log = end(cluster, experiment, undisturbed)
    assert log.count(warned) >= 2
    assert "restarts 2" in log
    saves = [int(number) for number in re.findall(r"saved at mini-batch (\d+) of 720", log)]
    assert saves == sorted(set(saves)), "a slice without progress"
    figure(f"time limit of {minutes} min, {len(saves)} times: no mini-batch lost, no rerun, byte-equal")


def fall_asleep(experiment: Experiment) -> None:
    """Stop the process that is at work on index 0; with its warning Slurm sends SIGCONT, which wakes it."""
    owner = lease.read(experiment.layout.lease("collect", 0))
    assert owner is not None, "it has ended, or been warned, before it could be put to sleep"
    os.kill(owner.pid, signal.SIGSTOP)


def test_a_cancelled_task_stays_cancelled_until_it_is_run_again(
    cluster: Cluster, undisturbed: Undisturbed, figure: Figure
) -> None:
    experiment, _ = begin(cluster)
    root, asked = str(experiment.layout.root), time.time()
    assert "collect 0" in cluster.pipeline("cancel", "-e", root)
    cost = stopped(cluster, experiment, asked)
    cluster.wait_until_idle()
    assert cluster.done(experiment) == set()
    assert cluster.step(experiment, 0) > 0
    assert "cancelled" in cluster.pipeline("explain", "0", "-e", root, "--json")
    cluster.submit(experiment, "--array", "0")
    end(cluster, experiment, undisturbed)
    figure(f"scancel: {cost}, one rerun, byte-equal")


def test_a_killed_step_is_seen_and_run_again(
    cluster: Cluster, undisturbed: Undisturbed, figure: Figure
) -> None:
    experiment, job = begin(cluster)
    cluster.slurm("scancel", "--signal=KILL", f"{job}.0")
    lost = cluster.lost(experiment, 0, time.time())
    cluster.wait_until_idle()
    root = str(experiment.layout.root)
    assert "collect" in cluster.pipeline("status", "-e", root)
    cluster.submit(experiment, "--array", "0")
    end(cluster, experiment, undisturbed)
    figure(f"SIGKILL of the step: {lost:.1f} s of work lost, one rerun, byte-equal")


def test_a_node_without_power_loses_one_snapshot_at_most(
    cluster: Cluster, undisturbed: Undisturbed, figure: Figure
) -> None:
    experiment, job = begin(cluster)
    node = cluster.slurm("squeue", "-h", "-j", job, "-o", "%N")
    saved = cluster.step(experiment, 0)
    slurm_cluster.cut_node(node)
    lost = cluster.lost(experiment, 0, time.time())
    cluster.slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=power")
    assert cluster.step(experiment, 0) >= saved
    log = end(cluster, experiment, undisturbed)
    assert "restarts 1" in log
    figure(f"power cut of the node: {lost:.1f} s of work lost, no rerun, byte-equal")
    slurm_cluster.start()


def test_a_second_copy_waits_for_the_first_that_still_runs(
    cluster: Cluster, undisturbed: Undisturbed
) -> None:
    experiment, job = begin(cluster, settings=SLICED)
    node = cluster.slurm("squeue", "-h", "-j", job, "-o", "%N")
    slurm_cluster.cut_daemon(node)
    cluster.slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=daemon")
    cluster.wait_for(lambda: "restarts 1" in cluster.log(experiment, 0), 90, "the second copy")
    assert 0 not in cluster.done(experiment), "the first copy had ended before the second began: no race"
    log = end(cluster, experiment, undisturbed, SLICED)
    assert "is at work on it; waiting for it" in log
    slurm_cluster.start()


def test_a_full_folder_stops_with_its_name_and_a_rerun_goes_on(
    cluster: Cluster, undisturbed: Undisturbed
) -> None:
    small = cluster.folder / "small"
    small.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(small))
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        experiment = cluster.make(*LONG, name="small/experiment")
        filler = small / "filler"
        root = str(experiment.layout.root)
        cluster.submit(experiment, "--array", "1", "--sbatch=begin=now+1hour")  # the code is copied
        cluster.pipeline("cancel", "-e", root)
        free = os.statvfs(small)
        filler.write_bytes(b"x" * max(0, free.f_bavail * free.f_frsize - 150_000))
        cluster.submit(experiment, "--array", "0")
        cluster.wait_until_idle()
        assert cluster.done(experiment) == set()
        assert "No space left" in cluster.log(experiment, 0)
        assert file_digests(experiment.layout.dynamics, 1) == {}
        filler.unlink()
        cluster.submit(experiment, "--array", "0")
        end(cluster, experiment, undisturbed)
    finally:
        cluster.wait_until_idle()
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_a_folder_that_a_node_has_not_is_named(cluster: Cluster) -> None:
    experiment = cluster.make()
    job = cluster.submit(experiment, "--array", "0", "--sbatch=begin=now+1hour")
    moved = experiment.layout.root.rename(cluster.folder / "moved")
    cluster.slurm("scontrol", "update", f"jobid={job}", "StartTime=now")
    cluster.wait_for(lambda: job not in cluster.slurm("squeue", "-h", "-o", "%A"), 60, "the failure")
    cluster.wait_for(
        lambda: "could not open its log" in cluster.pipeline("explain", "0", "-e", str(moved)),
        30,
        "accounting",
    )
