"""Stages by name, the sections of settings that they bring, and what the help lists."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from pipeline import config
from pipeline.registry import STAGES, chosen
from pipeline.sections import sections
from stages.experiment import Experiment
from stages.nap2.models.config import CaeConfig
from stages.settings import ConfigError, Settings, check, setting
from stages.stage import Execution, Outcome, Stage

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class OwnConfig:
    SECTION: ClassVar[str] = "own"

    size: int = setting(3, "a number", ge=1)

    def __post_init__(self) -> None:
        check(self)


class Idle(Stage):
    """A stage of no index."""

    name = "idle"

    def num_tasks(self, _: Experiment) -> int:
        return 0

    def run(self, _: Experiment, index: int, __: Execution) -> Outcome:
        raise IndexError(index)

    def files(self, _: Experiment, index: int) -> dict[str, Path]:
        raise IndexError(index)


class OwnStage(Idle):
    name = "own"
    config = OwnConfig


def stage_with_section(section: str) -> Stage:
    class Config:
        SECTION = section

    class With(Idle):
        name = "with"
        config = Config

    return With()


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The section of `OwnStage` as if it were registered."""
    monkeypatch.setattr(config, "SECTIONS", sections([OwnStage()]))


@pytest.mark.parametrize("method", ["num_tasks", "run", "files"])
def test_a_stage_that_lacks_a_method_cannot_be_made(method: str) -> None:
    kept = {name: value for name, value in vars(Idle).items() if name != method}
    with pytest.raises(TypeError, match=method):
        type("Incomplete", (Stage,), kept)()
    assert type("Whole", (Stage,), dict(vars(Idle)))().name == "idle"


def test_a_stage_is_one_object_under_its_own_name() -> None:
    assert [STAGES[name].name for name in STAGES] == list(STAGES)
    assert chosen("collect") == [STAGES["collect"]]
    assert STAGES["collect"] is STAGES["collect"]
    assert chosen("all") == list(STAGES.values())
    assert "labelz" not in STAGES
    with pytest.raises(
        ConfigError, match="unknown stage 'labelz'; use all or one of collect, zero-cost, labels"
    ):
        chosen("labelz")


def test_a_section_that_a_stage_brings_is_read_written_and_checked(own: None, tmp_path: Path) -> None:
    resolved = config.resolve({"own": {"size": 5}, "cae": {"epochs": 7}})
    assert resolved(OwnConfig) == OwnConfig(size=5)
    assert resolved(CaeConfig) == CaeConfig(epochs=7)
    assert config.to_tree(resolved)["own"] == {"size": 5}
    path = tmp_path / "experiment.toml"
    path.write_text(config.to_toml(resolved, "# made", {}))
    assert "[own]\n# a number\nsize = 5\n" in path.read_text()
    assert config.read(path) == resolved
    assert config.resolve(config.with_settings({}, ["own.size=4"]))(OwnConfig).size == 4
    with pytest.raises(ConfigError, match=r"own\.size = 0 is below the smallest value allowed, 1"):
        config.resolve({"own": {"size": 0}})
    with pytest.raises(ConfigError, match=r"unknown key own\.sise; did you mean own\.size"):
        config.resolve({"own": {"sise": 1}})


def test_where_nothing_is_said_a_brought_section_is_its_defaults(own: None) -> None:
    silent = config.resolve({})
    assert silent(OwnConfig) == Settings()(OwnConfig) == OwnConfig()
    assert silent != config.resolve({"own": {"size": 4}})
    assert config.scientific(silent) == config.scientific(Settings())  # of collection it is no part
    hash(silent)  # what follows from a configuration is cached by it


def test_a_section_of_no_stage_is_unknown() -> None:
    with pytest.raises(ConfigError, match=r"unknown section \[own\]"):
        config.resolve({"own": {"size": 4}})


@pytest.mark.parametrize("section", ["cae", "slurm", "own"])
def test_two_sections_of_one_name_are_refused(section: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"stage with brings a section \[{section}\], and there is another"
    ):
        sections([OwnStage(), stage_with_section(section)])


def test_two_stages_may_share_a_section() -> None:
    found = sections([OwnStage(), OwnStage()])
    assert found == {**config.SECTIONS, "own": OwnConfig}


@pytest.mark.parametrize(
    ("command", "names"),
    [("init", ", ".join(config.preset_names())), ("status", ", ".join((*STAGES, "or all in this order")))],
)
def test_the_help_names_what_there_is(command: str, names: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    command_line = [sys.executable, "-m", "pipeline", command, "--help"]
    found = subprocess.run(command_line, env=environment, capture_output=True, text=True, check=True)
    assert names in found.stdout
