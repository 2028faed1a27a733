"""Settings that come later, and new names of old ones: what was made before is neither refused nor stale."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pipeline import config
from pipeline.experiment import ExperimentError, initialize, load
from pipeline.record import identity_record
from stages.nap2.feature_maps import variants
from stages.nap2.feature_maps.config import InputsConfig
from stages.nap2.models import plan
from stages.nap2.models.config import BigruConfig
from stages.settings import ConfigError, Settings, check, identity_settings, setting
from stages.training.config import TrainingConfig

SMALL = ("architectures.number=2", "recording.snapshots=1", "labels.epochs=0")


@dataclass(frozen=True, kw_only=True)
class Later(TrainingConfig):
    """[training] as it may be one day."""

    clipping: float = setting(0.0, "largest norm of a gradient; 0: any", ge=0, late=True)


@dataclass(frozen=True, kw_only=True)
class Careless(TrainingConfig):
    """The same by somebody who has not read docs/compatibility.md."""

    clipping: float = setting(0.0, "largest norm of a gradient; 0: any", ge=0)


@dataclass(frozen=True, kw_only=True)
class Renamed:
    """[bigru] under new names."""

    SECTION: ClassVar[str] = "predictor"
    FORMERLY: ClassVar[tuple[str, ...]] = ("bigru", "recurrent")

    rounds: int = setting(2, "epochs", ge=1, formerly=("epochs", "passes"))
    width: int = setting(3, "width")

    def __post_init__(self) -> None:
        check(self)


def identity(training: TrainingConfig) -> str:
    return identity_record(Settings((training,)), b"plan", "data")["identity"]


def test_what_came_late_enters_an_identity_where_it_is_not_the_default() -> None:
    before = identity(TrainingConfig())
    assert identity(Later()) == before
    assert identity(Later(clipping=1.0)) != before
    assert identity(Careless()) != before


def test_what_was_always_there_enters_always() -> None:
    assert "training.momentum" in identity_settings(Later())
    assert "training.clipping" not in identity_settings(Later())
    assert identity_settings(Later(clipping=1.0))["training.clipping"] == 1.0


def with_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(config.SECTIONS, "training", Later)
    kinds = tuple(Later if kind is TrainingConfig else kind for kind in config.COLLECTION)
    monkeypatch.setattr(config, "COLLECTION", kinds)


def test_a_setting_that_did_not_exist_counts_as_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = initialize(tmp_path / "e", "demo", SMALL)
    with_later(monkeypatch)
    after = load(tmp_path / "e")
    assert after.identity == before.identity
    assert after.settings(TrainingConfig) == Later(**dataclasses.asdict(before.settings(TrainingConfig)))
    assert initialize(tmp_path / "new", "demo", SMALL).identity == before.identity
    toml = tmp_path / "e" / "experiment.toml"
    toml.write_text(toml.read_text().replace("[training]", "[training]\nclipping = 2.0"))
    with pytest.raises(ExperimentError, match=r"training\.clipping 0\.0 -> 2\.0"):
        load(tmp_path / "e")


def test_an_experiment_with_a_late_setting_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_later(monkeypatch)
    made = initialize(tmp_path / "e", "demo", (*SMALL, "training.clipping=2"))
    assert load(tmp_path / "e") == made
    toml = tmp_path / "e" / "experiment.toml"
    toml.write_text(toml.read_text().replace("clipping = 2.0", "clipping = 0.0"))
    with pytest.raises(ExperimentError, match=r"training\.clipping 2\.0 -> 0\.0"):
        load(tmp_path / "e")


def renamed(monkeypatch: pytest.MonkeyPatch, kind: Any = Renamed) -> None:
    known = {("predictor" if name == "bigru" else name): k for name, k in config.SECTIONS.items()}
    monkeypatch.setattr(config, "SECTIONS", known | {"predictor": kind})


@pytest.mark.parametrize("section", ["predictor", "bigru", "recurrent"])
@pytest.mark.parametrize("key", ["rounds", "epochs", "passes"])
def test_an_old_name_is_an_alias(section: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    renamed(monkeypatch)
    assert config.resolve({section: {key: 7}})(Renamed).rounds == 7
    tree = config.with_settings({section: {key: 7}}, ["predictor.width=4"])
    assert tree == {"predictor": {"rounds": 7, "width": 4}}
    assert config.with_settings({"predictor": {"rounds": 7}}, [f"{section}.{key} = 8"]) == {
        "predictor": {"rounds": 8}
    }


def test_without_the_note_an_old_name_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"unknown key bigru\.passes"):
        config.resolve({"bigru": {"passes": 7}})
    renamed(monkeypatch)
    with pytest.raises(ConfigError, match=r"unknown key predictor\.steps"):
        config.resolve({"bigru": {"steps": 7}})


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"bigru": {"epochs": 1, "rounds": 1}}, "predictor.epochs and predictor.rounds are one and the same"),
        ({"bigru": {}, "predictor": {}}, "[bigru] and [predictor] are one and the same; keep [predictor]"),
    ],
)
def test_two_names_of_one_thing_are_refused(
    tree: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed(monkeypatch)
    with pytest.raises(ConfigError) as raised:
        config.resolve(tree)
    assert says in str(raised.value)
    with pytest.raises(ConfigError, match=r"--set bigru\.epochs and --set predictor\.rounds are one setting"):
        config.with_settings({}, ["bigru.epochs=1", "predictor.rounds=2"])


def test_identities_know_the_first_name_alone() -> None:
    assert identity_settings(Renamed()) == {"bigru.epochs": 2, "bigru.width": 3}

    @dataclass(frozen=True, kw_only=True)
    class Careless:
        SECTION: ClassVar[str] = "predictor"
        rounds: int = setting(2, "epochs")

    assert identity_settings(Careless()) == {"predictor.rounds": 2}
    assert "bigru.epochs" in identity_settings(BigruConfig())


def test_a_variant_is_read_under_its_old_names_and_keeps_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {str(key) for key in plan.predictors(Settings((InputsConfig(variants="maps mask"),)))}
    known = variants.VARIANTS
    new = dataclasses.replace(
        known["mask"], name="existence", encoder="existence", formerly=("mask", "there")
    )
    monkeypatch.delitem(known, "mask")
    monkeypatch.setitem(known, "existence", new)
    for name in ("mask", "there", "existence"):
        inputs = InputsConfig(variants=f"maps {name}")
        assert inputs.chosen == (known["maps"], new)
        assert inputs.encoded == (known["maps"], new)
        assert {str(key) for key in plan.predictors(Settings((inputs,)))} == before
    with pytest.raises(ConfigError, match="name one or more, each once"):
        InputsConfig(variants="mask existence")
    monkeypatch.setitem(known, "existence", dataclasses.replace(new, formerly=()))
    with pytest.raises(ConfigError, match=r"inputs\.variants: 'mask' is not one of"):
        InputsConfig(variants="mask")
