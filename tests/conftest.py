"""Fixtures that several rooms share."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from stages.experiment import Experiment

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"

# How long an example takes is the machine's affair, and that of what else runs on it.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests have measured, as these figures are wanted of a run that passed too."""
    properties = [each for report in terminalreporter.getreports("passed") for each in report.user_properties]
    if properties:
        terminalreporter.section("measured")
    for _, line in properties:
        terminalreporter.write_line(str(line))


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Take a sentence with what was measured, for the summary of the run."""
    properties = request.node.user_properties  # these reach the summary from other processes too
    return lambda line: properties.append(("measured", line))


@pytest.fixture(scope="session", autouse=True)
def no_cluster() -> Iterator[None]:
    """Hide a Slurm that happens to be here, a job around the tests too; `tests/cluster` names its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("SLURM_", "SBATCH_"))]:
            patch.delenv(name)
        # A file that is absent would be waited for, a minute a command.
        patch.setenv("SLURM_CONF", os.devnull)
        yield


@pytest.fixture(scope="session")
def often() -> Callable[[int, int], int]:
    """Choose between the number of a quick campaign of faults and that of the long one, `TORTURE=long`."""
    long = os.environ.get("TORTURE", "") == "long"
    return lambda quick, full: full if long else quick


@pytest.fixture(scope="session")
def torture_seed() -> int:
    """Return the campaign's seed; `TORTURE_SEED` sets it."""
    return int(os.environ.get("TORTURE_SEED", "20261124"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data; the test skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real data is not at hand ({SHARED_DATA} is absent)")
    return SHARED_DATA


@pytest.fixture(scope="session")
def cifar_root(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with CIFAR-10 and the CIFAR-100 subset in the official layout, unpacked once (about 10 s)."""
    if importlib.util.find_spec("PIL") is None:
        pytest.skip("pillow is not installed, which unpacks the real images")
    root = tmp_path_factory.mktemp("cifar")
    subprocess.run([sys.executable, str(shared_data / "unpack.py"), str(root)], check=True)
    return root


@pytest.fixture(scope="session")
def smoke_collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Experiment of the preset `smoke`, collected, labelled and split; not to be written to."""
    from baseline_scene import run
    from pipeline.experiment import initialize

    root = tmp_path_factory.mktemp("smoke") / "e"
    assert run(initialize(root, "smoke", ()), "collect", "labels", "split") == 0
    return root


@pytest.fixture
def smoke_experiment(smoke_collected: Path, tmp_path: Path) -> Experiment:
    """Copy of that experiment, for one test."""
    from pipeline.experiment import load

    shutil.copytree(smoke_collected, tmp_path / "e")
    return load(tmp_path / "e")


@pytest.fixture
def register() -> Iterator[None]:
    """What a test adds to the registry of methods is gone after it."""
    from stages.baselines.registry import METHODS

    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)
