"""A search space outside of the packages goes through every stage, and what is wrong with one is said in a line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr

from own_space import SPACE, write_ladder
from storage_schema.write import file_digests

SETTINGS = (
    "architectures.number=20",
    "recording.interval=1",
    "recording.snapshots=2",
    "training.batch_size=256",
)


def pipeline(folder: Path, *words: str, code: int = 0) -> str:
    """Run `pipeline …` where the space is found."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *words],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def run(folder: Path, root: str, *words: str, code: int = 0) -> str:
    sets = [word for setting in (SPACE, *SETTINGS) for word in ("--set", setting)]
    return pipeline(folder, "run", "--preset", "smoke", "-e", root, *sets, *words, code=code)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the space and an experiment of it that went through all stages."""
    folder = tmp_path_factory.mktemp("own")
    write_ladder(folder)
    run(folder, "e", "--stage", "all", "--cluster", "inline")
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "own", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "own"


@pytest.mark.slow
def test_every_stage_is_done_and_verified(whole: Path) -> None:
    assert "all done" in pipeline(whole, "status", "-e", "e")
    for stage in ("collect", "cae", "evaluate"):
        pipeline(whole, "verify", "-e", "e", "--stage", stage)
    assert "equal" in pipeline(whole, "verify", "-e", "e", "--stage", "collect", "--sample", "1")


@pytest.mark.slow
def test_the_store_holds_what_the_space_has(whole: Path) -> None:
    store = xr.open_zarr(whole / "e" / "dynamics.zarr")
    assert store.sizes["layer"] == 69
    assert int(store.layers.max()) > 65
    assert int(store.units.max()) == 120
    assert store.reachable.sum().item() == store.layers.sum().item()
    names = [str(name) for name in store.layer_name[0].values if name]
    assert names[0] == "stem"
    assert names[-2:] == ["hidden", "head"]


@pytest.mark.slow
def test_what_cannot_apply_is_an_empty_row_with_its_reason(whole: Path) -> None:
    table = pipeline(whole, "baselines", "table", "-e", "e")
    assert "cell trees: search space ladder gives no graph of its cells, which it reads" in table
    (rows,) = json.loads(pipeline(whole, "baselines", "table", "-e", "e", "--json"))
    tau = {row["method"]: row["tau"] for row in rows["methods"]}
    assert all(value is None for column in tau["cell trees"] for value in column)
    assert all(value is not None for column in tau["parameters"] for value in column)
    notes = xr.open_zarr(whole / "e" / "zero_cost.zarr").note.to_pandas().T.drop_duplicates()
    assert "blocks" in str(notes.loc["expressivity"].iloc[0])
    assert not list((whole / "e").glob("failures/*/*"))


@pytest.mark.slow
def test_local_workers_write_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    write_ladder(tmp_path)
    run(tmp_path, "e", "--stage", "collect", "--array", "0-3", "--cluster", "local", "--workers", "2")
    for index in range(4):
        ours, theirs = (file_digests(folder / "e" / "dynamics.zarr", index) for folder in (whole, tmp_path))
        assert ours == theirs


@pytest.mark.slow
def test_status_and_help_import_nothing_of_it(copy: Path) -> None:
    (copy / "ladder.py").write_text("raise SystemExit('imported')\n")
    assert "all done" in pipeline(copy, "status", "-e", "e")
    assert "ladder-" in pipeline(copy, "inspect", "0", "-e", "e")
    pipeline(copy, "--help")
    (copy / "ladder.py").unlink()
    assert "all done" in pipeline(copy, "status", "-e", "e")


@pytest.mark.slow
def test_changed_code_under_a_finished_experiment_is_refused(copy: Path) -> None:
    (copy / "e" / "markers" / "collect" / "00000.json").unlink()
    path = copy / "ladder.py"
    path.write_text(path.read_text() + "\n# another thought\n")
    said = pipeline(copy, "run", "-e", "e", "--stage", "collect", code=2)
    assert "ladder.py has changed" in said
    assert "restore it" in said
    assert len(said.strip().splitlines()) == 1
    write_ladder(copy)
    pipeline(copy, "run", "-e", "e", "--stage", "collect")


Edit = Callable[[str], str]


@pytest.mark.parametrize(
    ("space", "edit", "says"),
    [
        ("ladders:Ladder", str, "No module named 'ladders'"),
        ("ladder:Stairs", str, "no attribute 'Stairs'"),
        ("ladder:Network", str, "no subclass of stages.search_spaces.space.SearchSpace"),
        ("nasbench210", str, "did you mean nasbench201?"),
        ("ladder:Ladder", lambda text: text.replace("def max_layers", "def most_layers"), "lacks max_layers"),
        ("ladder:Ladder", lambda text: text.replace("RUNGS * LAYERS + 3", "7"), "max_layers says 7"),
        (
            "ladder:Ladder",
            lambda text: text.replace("import torch\n", "import torch, nothing_like_it\n"),
            "nothing_like_it",
        ),
        (
            "ladder:Ladder",
            lambda text: text.replace("torch.ones(1)", "torch.tensor([float(id(self) % 99991)])"),
            "builds two different networks from 'ladder-053301' (unused)",
        ),
        (
            "ladder:Ladder",
            lambda text: text.replace("x.mean((2, 3))", "nn.functional.dropout(x.mean((2, 3)))"),
            "draws random numbers when it is run",
        ),
        (
            "ladder:Ladder",
            lambda text: text.replace("120, task.classes", "120, 3"),
            "(2, 3) instead of (2, 10)",
        ),
    ],
    ids=[
        "no module",
        "no class",
        "no space",
        "unknown",
        "abstract",
        "too few",
        "import",
        "random",
        "dropout",
        "classes",
    ],
)
def test_a_space_that_is_wrong_is_refused_in_one_line(
    tmp_path: Path, space: str, edit: Edit, says: str
) -> None:
    path = write_ladder(tmp_path)
    before = path.read_text()
    path.write_text(edit(before))
    assert edit is str or path.read_text() != before
    said = pipeline(
        tmp_path, "init", "e", "--preset", "smoke", "--set", f"architectures.space={space}", code=2
    )
    assert says in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "e").exists()
