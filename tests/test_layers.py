"""The rules of imports hold, and would notice what they forbid."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("pipeline", "slurm", "stages", "storage_schema")


def checked(root: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("stages/training/order.py", "stages.collect.stage"),  # upwards
        ("stages/baselines/report.py", "stages.evaluation.rows"),  # a sibling
        ("stages/stage.py", "stages.training.config"),
        ("stages/nap2/feature_maps/variants.py", "stages.nap2.models.plan"),
        ("slurm/submit.py", "stages.stage"),
    ],
)
def test_an_import_against_the_layers_is_noticed(copy: Path, module: str, imported: str) -> None:
    with (copy / module).open("a") as file:
        file.write(f"\nimport {imported}\n")
    found = checked(copy)
    assert found.returncode == 1
    assert imported.rpartition(".")[0] in found.stdout


def test_a_folder_that_is_in_no_layer_is_noticed(copy: Path) -> None:
    (copy / "stages" / "odds_and_ends").mkdir()
    (copy / "stages" / "odds_and_ends" / "__init__.py").touch()
    found = checked(copy)
    assert found.returncode == 1
    assert "odds_and_ends" in found.stdout


def test_no_rule_has_an_exception(copy: Path) -> None:
    assert "ignore_imports" not in (copy / "pyproject.toml").read_text()
    assert checked(copy).returncode == 0
