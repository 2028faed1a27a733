"""A power cut at any moment: what a done-marker vouches for is there, or there is no done-marker."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import forks
import power_loss
import pytest
import scenes
from interposed import Operation

Often = Callable[[int, int], int]
Figure = Callable[[str], None]


def cut(
    scene: scenes.Scene,
    operations: Sequence[Operation],
    folder: Path,
    moments: Sequence[int],
    number: int,
    reruns: int,
    draw: random.Random,
) -> tuple[int, list[str]]:
    """Cut the power at some moments; returns how many disks were looked at, and what was wrong with them."""
    before = power_loss.Disk.of(scene.before)
    found, tried, wrong = power_loss.changes(before, operations), 0, list[str]()
    rerun_at = set(draw.sample(list(moments), min(reruns, len(moments))))
    for moment in moments:
        for disk in power_loss.states(before, found, moment, number, draw):
            root = folder / "after" / "experiment"
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir(parents=True)
            disk.write(root)
            tried += 1
            wrong += [f"after operation {moment}: {line}" for line in forks.findings(root)]
            if moment in rerun_at and not wrong:
                complaint = scenes.complaint(scene, root)
                wrong += [f"after operation {moment}: {complaint}"] if complaint else []
                rerun_at.discard(moment)
    return tried, wrong


def test_what_is_marked_is_there(
    scene: scenes.Scene, draw: random.Random, tmp_path: Path, often: Often, figure: Figure
) -> None:
    ended = scene.run(forks.copy(scene.before, tmp_path / "recorded"), record=True)
    assert ended.code == scene.code, ended.said
    count = len(ended.operations)
    moments = sorted(draw.sample(range(count + 1), min(often(15, 1000), count + 1)))
    tried, wrong = cut(scene, ended.operations, tmp_path, moments, often(3, 8), often(1, 6), draw)
    assert wrong == []
    figure(f"power cuts: {scene.name}: {len(moments)} moments of {count}, {tried} disks: done is done")


@pytest.mark.parametrize("missing", ["of the content", "of the folder"])
def test_one_missing_sync_is_noticed(
    missing: str, prepared: dict[str, scenes.Scene], draw: random.Random, tmp_path: Path
) -> None:
    """The model bites: without one fsync of each shard, or of each folder it is in, the check fails."""
    scene = prepared["collect"]
    ended = scene.run(forks.copy(scene.before, tmp_path / "recorded"), record=True)
    whole = missing == "of the content"
    kept = [
        each
        for each in ended.operations
        if not (
            each.name == "fsync" and "weights/c/0" in each.path and each.path.endswith("partial") == whole
        )
    ]
    assert len(kept) < len(ended.operations)
    last = max(i for i, each in enumerate(kept) if "markers/collect/00000" in each.target)
    _, wrong = cut(scene, kept, tmp_path, range(last + 1, last + 4), 8, 0, draw)
    assert any("weights" in line for line in wrong)
