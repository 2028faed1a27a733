"""SIGKILL of steps on a real cluster at random moments, again and again: nothing is lost, nothing is wrong."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest
from client import LONG, Cluster

from pipeline.registry import STAGES
from pipeline.verify import verify_digests
from storage_schema.write import file_digests

pytestmark = pytest.mark.cluster


def test_killed_again_and_again(
    cluster: Cluster,
    undisturbed: Callable[..., dict[str, str]],
    often: Callable[[int, int], int],
    torture_seed: int,
    figure: Callable[[str], None],
) -> None:
    experiment, draw = cluster.make(*LONG), random.Random(f"{torture_seed} cluster")
    wanted, kills = {0, 1, 2, 3}, 0
    while kills < often(2, 20):
        job = cluster.submit(experiment, "--array", "0-3")
        if not job:  # all were done before enough were killed: begin again with one
            experiment.layout.marker("collect", draw.randrange(4)).unlink()
            continue
        cluster.wait_for(lambda: "RUNNING" in cluster.slurm("squeue", "-h", "-o", "%T"), 60, "a running task")
        time.sleep(draw.uniform(0.0, 8.0))
        running = cluster.slurm("squeue", "-h", "-r", "-t", "RUNNING", "-o", "%F_%K").split()
        for task in draw.sample(running, min(len(running), draw.randint(1, 2))):
            cluster.slurm("scancel", "--signal=KILL", task)
            kills += 1
        cluster.wait_until_idle()
        assert verify_digests(experiment, STAGES["collect"], range(4)) == []
    if cluster.done(experiment) != wanted:
        cluster.submit(experiment, "--array", "0-3")
        cluster.wait_for(lambda: wanted <= cluster.done(experiment), 300, "four markers")
    for index in wanted:
        assert file_digests(experiment.layout.dynamics, index) == undisturbed(index, *LONG)
    figure(f"kills: {kills} of Slurm's steps at random moments, byte-equal in the end")
