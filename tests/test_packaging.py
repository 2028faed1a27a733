"""The distribution as users get it: a wheel in an environment of its own, without the sources beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("pipeline", "slurm", "stages", "storage_schema")
SMALL = (
    "architectures.number=20",
    "cae.epochs=1",
    "bigru.epochs=1",
    "baselines.methods=parameters, FLOPs, layers, cell trees",
)
COPY = """
from pathlib import Path
import slurm, sys
from slurm.snapshot import check_running, take
copy = take(Path("code"))
check_running(copy.name)
print(Path(slurm.__file__).parents[1])
print(*sorted(str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()), sep="\\n")
"""


def call(*command: object, folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=environment | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    words = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    call(sys.executable, "-m", "pip", *words, folder=folder)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that has the wheel and, of this one, what it depends on; its folder of commands."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    words = ("install", "--quiet", "--no-deps", "--no-index", wheel)
    call(sys.executable, "-m", "pip", "--python", folder / "bin" / "python", *words, folder=folder)
    (site,) = folder.glob("lib/python*/site-packages")
    # As a plain folder of the path its .pth files are not read, and so not the editable install of the sources.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def test_the_wheel_has_all_of_the_packages_and_nothing_else(wheel: Path) -> None:
    tracked = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".toml")
    }
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == tracked


@pytest.mark.slow
def test_smoke_runs_from_the_wheel_to_the_table(installed: Path, tmp_path: Path) -> None:
    settings = [word for setting in SMALL for word in ("--set", setting)]
    run = (installed / "pipeline", "run", "-e", "e", "--cluster", "inline")
    shown = call(*run, "--preset", "smoke", *settings, folder=tmp_path)
    assert "evaluate: 2 done" in shown
    assert "NAP2" in shown
    assert "as they were computed" in call(installed / "pipeline", "verify", "-e", "e", folder=tmp_path)


def test_the_presets_and_the_copy_for_a_cluster_come_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    shown = call(installed / "pipeline", "init", "--help", folder=tmp_path)
    for preset in (ROOT / "pipeline" / "presets").glob("*.toml"):
        assert preset.stem in shown
    origin, *copied = call(installed / "python", "-c", COPY, folder=tmp_path).splitlines()
    assert Path(origin).is_relative_to(installed.parent)
    assert "pipeline/presets/smoke.toml" in copied
    assert "stages/collect/stage.py" in copied
