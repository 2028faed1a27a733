"""The README's commands and Python, run in order as written, with the output it shows."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(
    r"```(console|python|text)\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL
)


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
def test_commands_and_python_do_what_the_readme_shows(tmp_path: Path) -> None:
    printed = ""
    for kind, text in BLOCKS:
        if kind == "console":
            for line in text.strip().splitlines():
                run(pipeline(line), tmp_path)
        elif kind == "python":
            printed = run([sys.executable, "-W", "error", "-c", text], tmp_path)
        else:
            assert printed == text
    assert (tmp_path / "runs" / "demo-0.png").stat().st_size > 10_000


def test_the_readme_has_the_blocks_that_are_run() -> None:
    kinds = [kind for kind, _ in BLOCKS]
    assert kinds.count("console") == 2
    assert kinds[kinds.index("python") + 1] == "text"
