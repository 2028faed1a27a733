"""All stages on a real cluster, from an empty directory to the table; and a chain that breaks and is mended."""

from __future__ import annotations

import pytest
from client import Cluster

pytestmark = pytest.mark.cluster
MEMORY = "--sbatch=mem=2500M"  # of the autoencoders; what else the tests run on the cluster needs less


def test_from_an_empty_directory_to_the_table(cluster: Cluster) -> None:
    root = str(cluster.folder / "whole")
    run = ("run", "--preset", "demo", "-e", root, "--stage", "all", "--cluster", "slurm", MEMORY)
    cluster.pipeline(*run)
    waits = cluster.slurm("squeue", "-h", "-o", "%j %E").splitlines()
    assert [
        line.split()[1].startswith("afterany") for line in waits if "baselines-then-evaluate" in line
    ] == [True]
    assert [line.split()[1].startswith("afterok") for line in waits if "cae-then-embed" in line] == [True]
    again = cluster.pipeline(*run)
    assert "queued or running already" in again
    assert "job" not in again, "what is queued is not submitted twice"
    assert "evaluate: 5 done" in cluster.pipeline(*run, "--wait")
    assert "all done" in cluster.pipeline("status", "-e", root)
    shown = cluster.pipeline("run", "-e", root, "--stage", "evaluate", "--cluster", "local")
    assert "Kendall τ-b, all" in shown
    assert "NAP2" in shown


def test_a_failed_stage_leaves_the_rest_waiting_and_a_rerun_repairs_the_chain(cluster: Cluster) -> None:
    experiment = cluster.make("architectures.number=24", "recording.interval=2", "recording.snapshots=2")
    root = str(experiment.layout.root)
    cluster.pipeline("run", "-e", root, "--stage", "collect", "--array", "0", "--cluster", "inline")
    metadata = experiment.layout.dynamics / "weights" / "zarr.json"
    good = metadata.read_text()
    metadata.write_text("{")
    run = ("run", "-e", root, "--stage", "all", "--cluster", "slurm", MEMORY)
    cluster.pipeline(*run, "--wait", code=1)
    status = cluster.pipeline("status", "-e", root)
    assert "23 failed" in status
    waiting = cluster.slurm("squeue", "-h", "-r", "-o", "%j %r")
    assert "DependencyNeverSatisfied" in waiting
    metadata.write_text(good)
    out = cluster.pipeline(*run, "--wait")
    assert "evaluate: 2 done" in out
    assert "all done" in cluster.pipeline("status", "-e", root)
