"""The campaign of faults: what is struck, made once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import scenes
from rich.console import Console

from pipeline.experiment import initialize
from pipeline.registry import STAGES
from pipeline.run import RunOptions, run_stage

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker(pytest.mark.torture)
    # The longest first, so that all cores have work to the end.
    items.sort(key=lambda item: not item.nodeid.startswith("tests/torture/test_torture_system_calls"))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, scenes.Scene]:
    """One command for each stage, to be struck; made once, in about twenty seconds."""
    return {each.name: each for each in scenes.scenes(tmp_path_factory.mktemp("scenes"))}


@pytest.fixture(params=STAGES)
def scene(request: pytest.FixtureRequest, prepared: dict[str, scenes.Scene]) -> scenes.Scene:
    """The command of one stage: a test that asks for it strikes every stage."""
    return prepared[request.param]


@pytest.fixture
def draw(request: pytest.FixtureRequest, torture_seed: int) -> random.Random:
    """A generator of the test's own, from the campaign's seed."""
    return random.Random(f"{torture_seed} {request.node.name}")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small experiment with all stages done; to be copied, not changed."""
    root = tmp_path_factory.mktemp("finished") / "e"
    settings = ("architectures.number=20", "cae.epochs=1", "bigru.epochs=1")
    experiment = initialize(root, "smoke", settings)
    for stage in STAGES.values():
        assert run_stage(experiment, stage, None, RunOptions(cluster="inline"), Console(quiet=True)) == 0
    return root
