"""A real cluster, and experiments on it whose results are compared byte for byte with undisturbed ones."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import slurm_cluster
from client import SETTINGS, Cluster

from pipeline.execute import EXIT_DONE, execute
from pipeline.experiment import initialize, load
from pipeline.registry import STAGES
from stages.experiment import Experiment
from storage_schema.write import file_digests


@pytest.fixture(scope="session")
def running_cluster() -> Iterator[None]:
    """Start the cluster where it is not there; what was there before stays."""
    there = slurm_cluster.CONF.exists()
    slurm_cluster.start()
    yield
    if not there:
        slurm_cluster.stop()


@pytest.fixture
def cluster(running_cluster: None, tmp_path: Path) -> Iterator[Cluster]:
    """The cluster, with nothing queued before and after."""
    slurm_cluster.start()
    found = Cluster(tmp_path)
    found.slurm("scancel", "-u", getpass.getuser())
    yield found
    found.slurm("scancel", "-u", getpass.getuser())
    found.wait_until_idle(60)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, str]]:
    """Digests of an index of an experiment that ran here, without a cluster or any disturbance."""
    known: dict[tuple[str, ...], Experiment] = {}

    def compute(index: int, *settings: str) -> dict[str, str]:
        if settings not in known:
            root = tmp_path_factory.mktemp("undisturbed") / "experiment"
            known[settings] = initialize(root, "smoke", (*SETTINGS, *settings))
            STAGES["collect"].prepare(known[settings])
        experiment = load(known[settings].layout.root)
        assert execute(experiment, STAGES["collect"], index) == EXIT_DONE
        return file_digests(experiment.layout.dynamics, index)

    return compute
