"""Experiments that earlier versions made, as they lie in tests/data: they open, verify and are inspected for ever."""

from __future__ import annotations

import json
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.experiment import drawn_plan, load
from pipeline.record import identity_record, read_identity, recorded_versions
from stages.training.config import TrainingConfig
from storage_schema import schema
from storage_schema.write import object_path

DATA = Path(__file__).parent / "data"
IDENTITIES = {1: "5e66d897d7c2f84e"}
"""By schema version."""
STEM = {1: (0.7121598720550537, 0.7166204452514648)}
"""Norm of the stem's weights in both snapshots of architecture 0, as `inspect` showed it when it was made."""

Cli = Callable[..., tuple[int, str]]


def test_each_schema_version_has_an_experiment() -> None:
    assert sorted(IDENTITIES) == list(range(1, schema.VERSION + 1))
    assert sorted(path.name for path in DATA.glob("*.tar.xz")) == [
        f"experiment-schema-{v}.tar.xz" for v in IDENTITIES
    ]
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 300_000


@pytest.fixture(params=IDENTITIES)
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def root(version: int, tmp_path: Path) -> Path:
    name = f"experiment-schema-{version}"
    with tarfile.open(DATA / f"{name}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / name


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["pipeline", *words])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0), capsys.readouterr().out

    return call


def test_it_is_what_it_was_made_as(root: Path, version: int) -> None:
    experiment = load(root)
    assert experiment.identity == IDENTITIES[version]
    assert experiment.schema_version == version


def test_its_settings_lead_to_the_same_identity_and_plan_today(root: Path, version: int) -> None:
    """A setting that enters identities without being late fails here, and so do other names and other networks."""
    experiment, kept = load(root), read_identity(root / "identity.json")
    plan = drawn_plan(experiment.settings)
    assert plan == (root / "plan.csv").read_bytes()
    assert identity_record(experiment.settings, plan, kept["data"], recorded_versions(kept)) == kept
    other = experiment.settings.having(replace(experiment.settings(TrainingConfig), seed=5))
    assert identity_record(other, plan, kept["data"], recorded_versions(kept)) != kept


def test_status_says_done(root: Path, cli: Cli) -> None:
    code, told = cli("status", "-e", str(root), "--json")
    assert code == 0
    stages = json.loads(told)["stages"]
    assert stages["collect"]["done"] == stages["labels"]["done"] == "0-2"
    # A further proxy is a number that nobody has computed.
    assert "0-2" in (stages["zero-cost"]["done"], stages["zero-cost"]["stale"])


def test_verify_finds_nothing_and_a_flipped_bit(root: Path, cli: Cli) -> None:
    code, told = cli("verify", "-e", str(root), "--json")
    found = json.loads(told)
    assert (code, found["findings"]) == (0, [])
    assert found["checked"] >= 6
    path = object_path(root / "dynamics.zarr", "gradients", 1)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    code, told = cli("verify", "-e", str(root), "--json")
    assert code == 1
    assert [line.split(";")[0] for line in json.loads(told)["findings"]] == [
        "collect 1: gradients differs from its digest"
    ]


def test_inspect_shows_the_values_of_then(root: Path, version: int, cli: Cli) -> None:
    code, told = cli("inspect", "0", "-e", str(root), "--layer", "0", "--json")
    assert code == 0
    assert [row["l2"] for row in json.loads(told)["snapshots"]] == list(STEM[version])
