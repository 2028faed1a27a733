"""The campaign of faults: how long it is, its seed, and its figures at the end of the run.

`make torture` takes some minutes; `TORTURE=long make torture` runs the full numbers. `TORTURE_SEED` repeats a run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.experiment import initialize
from pipeline.registry import STAGES
from pipeline.run import RunOptions, run_stage

FIGURES = pytest.StashKey[list[str]]()
FOLDER = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker(pytest.mark.torture)


@pytest.fixture(scope="session")
def often() -> Callable[[int, int], int]:
    """Choose between the number of a quick run and that of the long one."""
    long = os.environ.get("TORTURE", "") == "long"
    return lambda quick, full: full if long else quick


@pytest.fixture(scope="session")
def torture_seed() -> int:
    return int(os.environ.get("TORTURE_SEED", "20261124"))


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Take a sentence with what was measured, for the summary of the run."""
    return request.config.stash[FIGURES].append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash[FIGURES]:
        terminalreporter.section("figures of the campaign")
        for line in config.stash[FIGURES]:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small experiment with all stages done; to be copied, not changed."""
    root = tmp_path_factory.mktemp("finished") / "e"
    settings = ("architectures.number=20", "cae.epochs=1", "bigru.epochs=1")
    experiment = initialize(root, "smoke", settings)
    for stage in STAGES.values():
        assert run_stage(experiment, stage, None, RunOptions(cluster="inline"), Console(quiet=True)) == 0
    return root
