"""Commands and Python of the documents, run in order as written, with the output they show."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def blocks(document: str) -> list[tuple[str, str]]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(r"```(console|python|text)\n(.*?)```", text, flags=re.DOTALL)


def run(command: list[str], folder: Path) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{command}: {result.stderr}"
    return result.stdout


def pipeline(line: str) -> list[str]:
    words = shlex.split(line.removeprefix("$ "))
    assert words[0] == "pipeline"
    return [sys.executable, "-m", "pipeline", *words[1:]]


@pytest.mark.slow
def test_commands_and_python_do_what_the_readme_and_its_continuations_show(tmp_path: Path) -> None:
    """The next document goes on where the one before ends."""
    follow("README.md", tmp_path)
    assert (tmp_path / "runs" / "demo-0.png").stat().st_size > 10_000
    assert len((tmp_path / "runs" / "ranking.csv").read_text().splitlines()) == 1 + 24
    follow("docs/analysts.md", tmp_path)


@pytest.mark.slow
def test_operators_commands_do_what_the_document_shows(tmp_path: Path) -> None:
    follow("docs/operators.md", tmp_path)


def follow(document: str, folder: Path) -> None:
    printed = ""
    for kind, text in blocks(document):
        if kind == "console":
            for line in text.strip().splitlines():
                run(pipeline(line), folder)
        elif kind == "python":
            printed = run([sys.executable, "-W", "error", "-c", text], folder)
        else:
            assert printed == text


def test_the_readme_has_the_blocks_that_are_run() -> None:
    kinds = [kind for kind, _ in blocks("README.md")]
    assert kinds.count("console") == 3
    assert kinds[kinds.index("python") + 1] == "text"
