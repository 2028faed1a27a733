"""All stages on a real cluster, from an empty directory to the table; and a chain that breaks and is mended."""

from __future__ import annotations

import pytest
from client import Cluster

from own_space import SPACE, write_ladder

pytestmark = pytest.mark.cluster
MEMORY = "--sbatch=mem=2500M"  # of the autoencoders; what else the tests run on the cluster needs less
PACKED = ("--cluster", "slurm", MEMORY, "--pack", "10")  # a process starts longer than any index here takes
SMALL = (
    "architectures.number=20",
    "recording.interval=1",
    "recording.snapshots=2",
    "baselines.methods=parameters, FLOPs, layers, cell trees, SoTL",
)


def test_from_an_empty_directory_to_the_table(cluster: Cluster) -> None:
    """In a search space outside of the packages: its tasks run the copy that was submitted."""
    source = cluster.folder / "source"
    source.mkdir()
    ladder, root = write_ladder(source), str(cluster.folder / "whole")
    sets = [word for setting in (SPACE, "training.batch_size=256", *SMALL) for word in ("--set", setting)]
    where = {"PYTHONPATH": str(source)}
    run = ("run", "--preset", "smoke", "-e", root, *sets, "--stage", "all", *PACKED)
    cluster.pipeline(*run, **where)
    waits = cluster.slurm("squeue", "-h", "-o", "%j %E").splitlines()
    assert [
        line.split()[1].startswith("afterany") for line in waits if "baselines-then-evaluate" in line
    ] == [True]
    assert [line.split()[1].startswith("afterok") for line in waits if "cae-then-embed" in line] == [True]
    again = cluster.pipeline(*run, **where)
    assert "queued or running already" in again
    assert "job" not in again, "what is queued is not submitted twice"
    code = ladder.read_text()
    ladder.write_text(f"{code}\n# edited while the tasks wait\n")
    refused = cluster.pipeline(*run, code=2, **where)
    assert "ladder.py has changed" in refused
    ladder.write_text(code)
    assert "evaluate: 2 done" in cluster.pipeline(*run, "--wait", **where)
    copies = list((cluster.folder / "whole" / "slurm" / "code").glob("*/ladder.py"))
    assert [copy.read_text() for copy in copies] == [code]
    assert "all done" in cluster.pipeline("status", "-e", root)
    shown = cluster.pipeline("run", "-e", root, "--stage", "evaluate", "--cluster", "local", **where)
    assert "Kendall τ-b, all" in shown
    assert "NAP2" in shown


def test_a_failed_stage_leaves_the_rest_waiting_and_a_rerun_repairs_the_chain(cluster: Cluster) -> None:
    experiment = cluster.make(*SMALL)
    root = str(experiment.layout.root)
    cluster.pipeline("run", "-e", root, "--stage", "collect", "--array", "0", "--cluster", "inline")
    metadata = experiment.layout.dynamics / "weights" / "zarr.json"
    good = metadata.read_text()
    metadata.write_text("{")
    run = ("run", "-e", root, "--stage", "all", *PACKED)
    cluster.pipeline(*run, "--wait", code=1)
    status = cluster.pipeline("status", "-e", root)
    assert "19 failed" in status
    waiting = cluster.slurm("squeue", "-h", "-r", "-o", "%j %r")
    assert "DependencyNeverSatisfied" in waiting
    metadata.write_text(good)
    out = cluster.pipeline(*run, "--wait")
    assert "evaluate: 2 done" in out
    assert "all done" in cluster.pipeline("status", "-e", root)
