"""Random damage to everything that is kept: `verify` finds it, `repair` computes just that again, to the same bytes."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import forks
import pytest
from interposed import Strike

from pipeline.experiment import initialize, load
from pipeline.registry import STAGES
from storage_schema import durable

Often = Callable[[int, int], int]
Figure = Callable[[str], None]
KINDS = ("flip", "truncate", "zero", "swap", "older")


@dataclass(frozen=True)
class Kept:
    """A complete experiment, with one index stopped midway, and what it was with other settings before."""

    root: Path
    older: Path
    contents: dict[str, str]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    folder = tmp_path_factory.mktemp("kept")
    older = folder / "older" / "experiment"
    older.parent.mkdir()
    whole = ("run", "--stage", "all", "--cluster", "inline")
    initialize(older, "smoke", forks.SETTINGS)
    assert forks.pipeline(older, *whole, "--set", "cae.epochs=2", "--set", "bigru.epochs=1").code == 0
    root = forks.copy(older, folder / "now")
    settings = ("cae.epochs=1", "bigru.epochs=2")
    assert forks.pipeline(root, *whole, *(word for each in settings for word in ("--set", each))).code == 0
    contents = forks.contents(root)
    # What a killed index has, here beside markers of all, as nothing depends on it.
    for index in (3, 4):
        path = load(root).layout.checkpoint("collect", index)
        durable.write(path, _checkpoint(folder / "killed", index))
    return Kept(root, older, contents)


def _checkpoint(folder: Path, index: int) -> bytes:
    """Kill the collection of an index, later each time, until there is a checkpoint."""
    initialize(folder / "new" / "experiment", "smoke", forks.SETTINGS)
    words = ("run", "--stage", "collect", "--array", str(index), "--cluster", "inline")
    for at in itertools.count(300, 40):
        root = forks.copy(folder / "new" / "experiment", folder / "killed")
        assert forks.pipeline(root, *words, strike=Strike(kind="kill", at=at)).killed
        path = load(root).layout.checkpoint("collect", index)
        if path.is_file():
            shutil.rmtree(folder / "new")
            return path.read_bytes()
    raise AssertionError


def victims(root: Path) -> list[Path]:
    """Everything that is kept: store, checkpoints, markers, embeddings, models, plan, splits, labels, scores."""
    inside = [path.relative_to(root) for path in sorted(root.rglob("*")) if path.is_file()]
    return [path for path in inside if path.parts[0] != "leases" and path.name != "experiment.toml"]


def damage(kind: str, path: Path, root: Path, older: Path, draw: random.Random) -> bool:
    """Damage a file; false where this kind of damage changes nothing of it."""
    victim, content = root / path, (root / path).read_bytes()
    if kind == "flip":
        changed = bytearray(content)
        changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        new = bytes(changed)
    elif kind == "truncate":
        new = content[: draw.randrange(len(content))]
    elif kind == "zero":
        start = draw.randrange(len(content))
        new = content[:start] + bytes(len(content[start : start + 4096])) + content[start + 4096 :]
    elif kind == "swap":
        alike = [other for other in victims(root) if _alike(other, path)]
        if not alike:
            return False
        other = root / draw.choice(alike)
        new, theirs = other.read_bytes(), content
        other.write_bytes(theirs)
    else:
        if not (older / path).is_file() or path.parts[0] == "checkpoints":
            return False
        new = (older / path).read_bytes()
    victim.write_bytes(new)
    return new != content


def _alike(one: Path, two: Path) -> bool:
    return (one != two and one.name == two.name and len(one.parts) == len(two.parts)) or (
        one.parts[0] in ("markers", "checkpoints")
        and one != two
        and one.parent == two.parent
        and "shared" not in (one.stem, two.stem)
    )


def test_verify_finds_and_repair_mends(
    kept: Kept, tmp_path: Path, often: Often, torture_seed: int, figure: Figure
) -> None:
    draw = random.Random(f"{torture_seed} corruption")
    tried, repaired, number = 0, 0, often(40, 500)
    every = often(8, 9)  # no multiple of the number of kinds: each kind is repaired
    missed, wrong = [], []
    while tried < number:
        root = forks.copy(kept.root, tmp_path / "damaged")
        kind, path = KINDS[tried % len(KINDS)], draw.choice(_evenly(victims(root), draw))
        if not damage(kind, path, root, kept.older, draw):
            continue
        tried += 1
        found = forks.pipeline(root, "verify", "--json")
        if found.code not in (1, 2) or "Traceback" in found.said:
            missed.append(f"{kind} {path}: {found.said[-300:]}")
        elif tried % every == 0:
            repaired += 1
            trouble = _repair(root, kept)
            wrong += [f"{kind} {path}: {trouble}"] if trouble else []
    assert (missed, wrong) == ([], [])
    figure(f"corruption: {tried} tried, {tried - len(missed)} found; {repaired} repaired to the same bytes")


def _evenly(paths: list[Path], draw: random.Random) -> list[Path]:
    """Those of one kind of files, each kind as often as another though most files are of the store."""
    kinds = sorted(
        {
            path.parts[:2] if path.parts[0] in ("markers", "dynamics.zarr") else path.parts[:1]
            for path in paths
        }
    )
    kind = draw.choice(kinds)
    return [path for path in paths if path.parts[: len(kind)] == kind]


def _repair(root: Path, kept: Kept) -> str:
    before = forks.contents(root)
    dry = forks.pipeline(root, "repair", "--dry-run", "--json")
    if dry.code != 0 or not json.loads(dry.said.splitlines()[-1])["findings"]:
        return f"a dry run finds nothing: {dry.said[-500:]}"
    if forks.contents(root) != before:
        return "a dry run changes something"
    ended = forks.pipeline(root, "repair")
    if ended.code != 0:
        return f"repair ends with {ended.code}: {ended.said[-500:]}"
    after = forks.contents(root)
    mended = {name: digest for name, digest in after.items() if not name.startswith("checkpoints/")}
    differing = forks.difference(mended, kept.contents)
    return f"not the bytes there were: {differing}" if differing else ""


def test_repair_of_a_sound_experiment_does_nothing(kept: Kept, tmp_path: Path) -> None:
    root = forks.copy(kept.root, tmp_path / "sound")
    before = forks.contents(root)
    assert forks.pipeline(root, "repair").said == "nothing is damaged\n"
    assert forks.contents(root) == before
    assert not (root / "damaged").exists()


def test_only_what_is_damaged_is_computed_again(kept: Kept, tmp_path: Path) -> None:
    root = forks.copy(kept.root, tmp_path / "one")
    layout = load(root).layout
    victim = STAGES["collect"].files(load(root), 5)["weights"]
    victim.write_bytes(victim.read_bytes()[:-1])
    times = {path: path.stat().st_mtime_ns for path in root.glob("markers/*/[!s]*.json")}
    ended = forks.pipeline(root, "repair")
    assert "computed again: collect 5" in ended.said
    newer = [path for path, then in times.items() if path.stat().st_mtime_ns != then]
    assert newer == [layout.marker("collect", 5)]
