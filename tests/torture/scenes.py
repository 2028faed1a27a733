"""What is struck: one command for each stage, from a prepared experiment, with what it leaves when undisturbed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import forks

from pipeline.experiment import initialize
from pipeline.registry import STAGES

INDICES = {"collect": "0-1", "zero-cost": "0-1", "labels": "0-1", "cae": "0", "bigru": "0"}
"""Where a part of the stage is enough."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One command on an experiment.

    Attributes:
        before: The experiment as the command finds it.
        words: The command.
        code: Its exit code when nothing is amiss: 1 where it leaves other indices undone.
        after: Contents when it came to its end undisturbed.
        count: File operations that it makes.
    """

    name: str
    before: Path
    words: tuple[str, ...]
    code: int
    after: dict[str, str]
    count: int

    def run(self, root: Path, **how: object) -> forks.Ended:
        """Run the command on a copy."""
        return forks.pipeline(root, *self.words, **how)  # type: ignore[arg-type]


def scenes(folder: Path) -> Iterator[Scene]:
    """Make a scene for each stage, each from what the stages before have left."""
    root = folder / "experiment"
    initialize(root, "smoke", forks.SETTINGS)
    for stage in STAGES:
        before = forks.copy(root, folder / f"before-{stage}")
        whole = ("run", "--stage", stage, "--cluster", "inline")
        words = (*whole, "--array", INDICES[stage]) if stage in INDICES else whole
        undisturbed = forks.copy(before, folder / "undisturbed")
        ended = forks.pipeline(undisturbed, *words)
        assert ended.code in (0, 1), ended.said
        forks.load_modules(ended.modules)
        after = forks.contents(undisturbed)
        yield Scene(name=stage, before=before, words=words, code=ended.code, after=after, count=ended.count)
        assert forks.pipeline(root, *whole).code == 0


def complaint(scene: Scene, root: Path) -> str:
    """Run the command again, undisturbed, on what a disturbed run has left; say what is not as it should be."""
    wrong = forks.findings(root)
    if wrong:
        return f"a done-marker vouches for what is not there: {wrong}"
    ended = scene.run(root)
    if ended.code != scene.code:
        return f"the rerun ends with {ended.code}: {ended.said}"
    differing = forks.difference(forks.contents(root), scene.after)
    if differing:
        return f"not the bytes of an undisturbed run: {differing}"
    left = forks.temporaries(root)
    return f"temporary files are left: {[str(path) for path in left]}" if left else ""
