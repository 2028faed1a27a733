"""A search space outside of the packages on a real cluster: its tasks run the copy that was submitted."""

from __future__ import annotations

import pytest
from client import Cluster

from own_space import SPACE, write_ladder

pytestmark = pytest.mark.cluster
MEMORY = "--sbatch=mem=2500M"
SETTINGS = (
    "architectures.number=20",
    "recording.interval=1",
    "recording.snapshots=2",
    "training.batch_size=256",
)


def test_every_stage_of_an_own_space(cluster: Cluster) -> None:
    source = cluster.folder / "source"
    source.mkdir()
    ladder, root = write_ladder(source), str(cluster.folder / "own")
    sets = [word for setting in (SPACE, *SETTINGS) for word in ("--set", setting)]
    where = {"PYTHONPATH": str(source)}
    run = ("run", "--preset", "smoke", "-e", root, *sets, "--stage", "all", "--cluster", "slurm", MEMORY)
    cluster.pipeline(*run, **where)
    code = ladder.read_text()
    ladder.write_text(f"{code}\n# edited while the tasks wait\n")
    refused = cluster.pipeline(*run, code=2, **where)
    assert "ladder.py has changed" in refused
    ladder.write_text(code)
    assert "evaluate: 2 done" in cluster.pipeline(*run, "--wait", **where)
    copies = list((cluster.folder / "own" / "slurm" / "code").glob("*/ladder.py"))
    assert [copy.read_text() for copy in copies] == [code]
    assert "all done" in cluster.pipeline("status", "-e", root)
