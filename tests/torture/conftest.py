"""The campaign of faults: what is struck, made once."""

from __future__ import annotations

from pathlib import Path

import pytest
import scenes

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker(pytest.mark.torture)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, scenes.Scene]:
    """One command for each stage, to be struck; made once, in about twenty seconds."""
    return {each.name: each for each in scenes.scenes(tmp_path_factory.mktemp("scenes"))}
