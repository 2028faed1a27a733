"""SIGKILL before and after every kind of file operation, in every stage: run again, and nothing was lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import forks
import pytest
import scenes
from interposed import Strike

from storage_schema import durable

Often = Callable[[int, int], int]
Figure = Callable[[str], None]


def test_killed_at_chosen_operations(
    scene: scenes.Scene, draw: random.Random, tmp_path: Path, often: Often, figure: Figure
) -> None:
    assert scene.count > 20
    kills, wrong = min(often(3, 20), scene.count), []
    for number, at in enumerate(sorted(draw.sample(range(scene.count), kills))):
        root = forks.copy(scene.before, tmp_path / "struck")
        strike = Strike(kind=("kill", "kill-after")[number % 2], at=at)
        ended = scene.run(root, strike=strike)
        assert ended.killed, f"{strike}: {ended.said}"
        complaint = scenes.complaint(scene, root)
        wrong += [f"{strike}: {complaint}"] if complaint else []
    assert wrong == []
    figure(f"kills: {scene.name}: {kills} at chosen operations of {scene.count}, reruns byte-equal")


def test_killed_again_and_again_at_random_moments(
    scene: scenes.Scene, draw: random.Random, tmp_path: Path, often: Often, figure: Figure
) -> None:
    """The kill comes from outside, and hits a run that goes on where the one before was killed."""
    root, kills = forks.copy(scene.before, tmp_path / "struck"), 0
    started = time.monotonic()
    assert scene.run(forks.copy(scene.before, tmp_path / "whole")).code == scene.code
    whole = time.monotonic() - started
    for _ in range(often(2, 10)):
        ended = scene.run(root, kill_after=draw.uniform(0.0, whole))
        kills += ended.killed
        assert forks.findings(root) == []
        if not ended.killed:
            root = forks.copy(scene.before, tmp_path / "struck")
    assert scenes.complaint(scene, root) == ""
    figure(f"kills: {scene.name}: {kills} at random moments, one after the other, byte-equal in the end")


def test_workers_killed_at_random_moments(
    prepared: dict[str, scenes.Scene], draw: random.Random, tmp_path: Path, often: Often, figure: Figure
) -> None:
    """Two worker processes a machine; a kill hits one of them, or all."""
    scene = prepared["collect"]
    root, kills = forks.copy(scene.before, tmp_path / "struck"), 0
    words = ("run", "--stage", "collect", "--array", "0-1", "--cluster", "local", "--workers", "2")
    command = [sys.executable, "-m", "pipeline", *words, "-e", str(root)]
    for number in range(often(2, 20)):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(draw.uniform(1.0, 9.0))
        victims = _children(process.pid) if number % 2 else [process.pid, *_children(process.pid)]
        for victim in victims[: 1 if number % 2 else None]:
            os.kill(victim, signal.SIGKILL)
            kills += 1
        process.wait(timeout=forks.LIMIT)
        assert forks.findings(root) == []
        if number % 4 == 3:
            root = forks.copy(scene.before, tmp_path / "struck")
    assert scenes.complaint(scene, root) == ""
    figure(f"kills: {kills} of worker processes and of what started them, byte-equal in the end")


def _children(pid: int) -> list[int]:
    done = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in done.stdout.split()]


def test_a_write_that_is_not_atomic_is_noticed(
    prepared: dict[str, scenes.Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The campaign's own check: without the rename it fails."""
    scene = prepared["collect"]

    def plain(path: Path, content: object) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)  # type: ignore[call-overload]

    monkeypatch.setattr(durable, "write", plain)
    complaints = []
    for at in range(0, scene.count, 8):
        root = forks.copy(scene.before, tmp_path / "struck")
        with monkeypatch.context() as broken:
            broken.setattr(durable, "write", plain)
            if not scene.run(root, strike=Strike(kind="kill", at=at)).killed:
                break
        complaints.append(scenes.complaint(scene, root))
        if complaints[-1]:
            return
    raise AssertionError("no kill was noticed though writes were torn")
