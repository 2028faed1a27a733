"""The campaign of faults: how long it is, and its seed.

`make torture` takes some minutes; `TORTURE=long make torture` runs the full numbers. `TORTURE_SEED` repeats a run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import scenes

FOLDER = Path(__file__).parent


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


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, scenes.Scene]:
    """One command for each stage, to be struck; made once, in about twenty seconds."""
    return {each.name: each for each in scenes.scenes(tmp_path_factory.mktemp("scenes"))}
