"""The additions of docs/extending.md, made to a copy of the packages, with no more changes than it promises."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("pipeline", "slurm", "stages", "storage_schema")
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?:^`([^`\n]+)`:\n\n)?^```(\w+)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
ROW = re.compile(r"^\| \[(.+?)\]\(#\S+\) \| (.+?) \| (\d+) \| (\d+) \|$", flags=re.MULTILINE)


@dataclass(frozen=True)
class Promise:
    """A row of the table: what is new, and how much changes of what is there."""

    new: str
    lines: int
    files: int


@dataclass(frozen=True)
class Block:
    """A fenced block; `path` where it is a whole file."""

    path: str | None
    kind: str
    text: str


def promises(page: str) -> dict[str, Promise]:
    return {name: Promise(new, int(lines), int(files)) for name, new, lines, files in ROW.findall(page)}


def sections(page: str) -> dict[str, list[Block]]:
    """The blocks of each section, by its title as the table writes it."""
    _, *parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    titles, texts = parts[::2], parts[1::2]
    return {
        title[0].lower() + title[1:]: [Block(path or None, *rest) for path, *rest in BLOCK.findall(text)]
        for title, text in zip(titles, texts, strict=True)
    }


def copy_packages(folder: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package)  # with what is compiled already


def write_file(folder: Path, path: str, text: str) -> None:
    assert path.partition("/")[0] in PACKAGES or "/" not in path, f"{path} is in none of the packages"
    target = folder / path
    assert not target.exists(), f"{path} is not new"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


def change_file(folder: Path, diff: str) -> tuple[str, int]:
    """Apply changed lines, in their surroundings, to the one place they fit; returns the file and how many they are."""
    head, *lines = diff.splitlines()
    assert head.startswith("--- "), f"{head!r} names no file"
    signs = {line[:1] for line in lines}
    assert signs <= {" ", "+", "-"}, f"signs {signs}"
    path = head.removeprefix("--- ")
    before, after = ("".join(f"{line[1:]}\n" for line in lines if line[0] != sign) for sign in "+-")
    text = (folder / path).read_text(encoding="utf-8")
    assert f"\n{text}".count(f"\n{before}") == 1, f"{path} does not have this in one place:\n{before}"
    (folder / path).write_text(f"\n{text}".replace(f"\n{before}", f"\n{after}")[1:], encoding="utf-8")
    counts = [sum(line[0] == sign for line in lines) for sign in "+-"]
    return path, max(counts)


def apply(blocks: list[Block], folder: Path, promise: Promise) -> None:
    """Write the new files and change the others, as much as is promised."""
    new = [block for block in blocks if block.path is not None]
    changed = [block for block in blocks if block.kind == "diff"]
    there = {path.relative_to(folder).parent.as_posix() for path in folder.rglob("*")}
    for block in new:
        write_file(folder, str(block.path), block.text)
    folders = {Path(str(block.path)).parent.as_posix() for block in new}
    what = "a folder" if len(folders) == 1 and not folders & there else f"{len(new)} file"
    assert (what if new else "nothing") == promise.new
    done = [change_file(folder, block.text) for block in changed]
    assert sum(lines for _, lines in done) == promise.lines, f"lines changed in {done}"
    assert len({path for path, _ in done}) == promise.files, f"files changed: {done}"


def outputs(blocks: list[Block], folder: Path) -> Iterator[tuple[str, str]]:
    """Run commands and Python; yields each text that is shown with what the block before it printed."""
    printed = ""
    for block in blocks:
        if block.kind == "console":
            commands = [shlex.split(line.removeprefix("$ ")) for line in block.text.strip().splitlines()]
            assert all(words[0] == "pipeline" for words in commands), commands
            printed = "".join(run(["-m", *words], folder) for words in commands)
        elif block.kind == "python" and block.path is None:
            printed = run(["-W", "error", "-c", block.text], folder)
        elif block.kind == "text":
            yield block.text, printed


def run(arguments: list[str], folder: Path) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder), "COLUMNS": "200"}
    command = [sys.executable, *arguments]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{arguments}: {result.stderr}"
    return result.stdout


def test_every_row_of_the_table_has_its_section() -> None:
    assert list(promises(PAGE)) == list(sections(PAGE))
    assert PAGE.count("\n| [") == len(promises(PAGE))  # none is overlooked


@pytest.mark.slow
@pytest.mark.parametrize("name", sections(PAGE))
def test_what_is_added_as_the_page_says_runs(name: str, smoke_collected: Path, tmp_path: Path) -> None:
    copy_packages(tmp_path)
    blocks = sections(PAGE)[name]
    apply(blocks, tmp_path, promises(PAGE)[name])
    shutil.copytree(smoke_collected, tmp_path / "runs" / "source")
    shown = list(outputs(blocks, tmp_path))
    assert shown, "it shows nothing of what it does"
    for text, printed in shown:
        for line in text.strip().splitlines():
            assert line.strip() in printed
    # The copy alone was changed, and it is what ran.
    assert run(["-c", "import pipeline; print(pipeline.__file__)"], tmp_path).startswith(str(tmp_path))


ADDED = """## A thing

`stages/thing.py`:

```python
THING = 1
```

```diff
--- stages/registry.py
     "b",
+    "thing",
 )
```
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "registry.py").write_text('NAMES = (\n    "a",\n    "b",\n)\n')
    return tmp_path


def add(page: str, folder: Path, promise: Promise | None = None) -> None:
    ((_, blocks),) = sections(page).items()
    apply(blocks, folder, promise or Promise("1 file", 1, 1))


def test_a_line_goes_where_it_belongs(package: Path) -> None:
    add(ADDED, package)
    assert (
        package / "stages" / "registry.py"
    ).read_text() == 'NAMES = (\n    "a",\n    "b",\n    "thing",\n)\n'
    assert (package / "stages" / "thing.py").read_text() == "THING = 1\n"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('     "b",', '     "c",', "does not have this in one place"),
        (" )\n", '+    "more",\n )\n', "lines changed"),
        ('     "b",\n', '-    "a",\n-    "b",\n+    "b",\n', "lines changed"),
        ("```diff", "```diff\n--- stages/thing.py\n+# and this\n THING = 1\n```\n\n```diff", "lines changed"),
        ('     "b",\n+', "+", "does not have this in one place"),
        ("stages/thing.py", "stages/registry.py", "is not new"),
        ("stages/thing.py", "tests/thing.py", "is in none of the packages"),
        ("--- stages", "stages", "names no file"),
        ("`stages/thing.py`:", "Without a file:", "assert 'nothing' == '1 file'"),
        ("stages/thing.py", "stages/thing/thing.py", "assert 'a folder' == '1 file'"),
    ],
)
def test_what_does_not_fit_or_is_more_than_promised_fails(
    before: str, after: str, said: str, package: Path
) -> None:
    if before == '     "b",\n+':
        (package / "stages" / "registry.py").write_text("NAMES = (\n)\nOTHERS = (\n)\n")
    page = ADDED.replace(before, after)
    assert page != ADDED
    with pytest.raises(AssertionError, match=re.escape(said)):
        add(page, package)


def test_a_promise_of_more_than_is_done_fails_too(package: Path) -> None:
    with pytest.raises(AssertionError, match="files changed"):
        add(ADDED, package, Promise("1 file", 1, 2))
