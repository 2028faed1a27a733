"""Settings: presets, `--set`, `experiment.toml` and what belongs to the identity."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pipeline import config
from pipeline.experiment import identity_record
from pipeline.sections import COLLECTION
from stages.settings import ConfigError, Settings

PATHS = {"data.root", "labels.table", "training.device"}
PAPER = {
    "architectures.space": "nasbench201",
    "splits.test": "fixed",
    "splits.sizes": "50 100 200 300 400 500 600 700",
    "cae.epochs": 150,
    "bigru.epochs": 100,
    "architectures.channels": 16,
    "architectures.cells_per_stage": 5,
    "architectures.number": 1000,
    "data.image_size": 0,
    "data.validation_images": 5000,
    "training.optimizer": "sgd",
    "training.learning_rate": 0.1,
    "training.momentum": 0.9,
    "training.weight_decay": 5e-4,
    "training.epochs": 200,
    "training.batch_size": 256,
    "training.seed": 4,
    "recording.interval": 100,
    "recording.snapshots": 23,
    "labels.source": "table",
    "labels.unit": "percent",
}
SMALL = PAPER | {
    "architectures.channels": 8,
    "architectures.cells_per_stage": 2,
    "architectures.number": 200,
    "data.image_size": 16,
    "data.validation_images": 1000,
    "recording.snapshots": 5,
    "splits.test": "folds",
    "splits.sizes": "all",
    "cae.epochs": 40,
    "cae.warmup": 2,
    "cae.step_size": 6,
    "cae.patience": 8,
}
PRESETS: dict[str, dict[str, Any]] = {
    "cifar10": PAPER | {"data.name": "cifar10", "architectures.slice": 0, "labels.column": "cifar10_test"},
    "cifar100": PAPER | {"data.name": "cifar100", "architectures.slice": 1, "labels.column": "cifar100_test"},
    "cifar10-small": SMALL | {"data.name": "cifar10", "architectures.slice": 0},
    "cifar100-small": SMALL | {"data.name": "cifar100", "architectures.slice": 1},
    "smoke": {
        "architectures.channels": 2,
        "architectures.number": 24,
        "data.name": "digits",
        "recording.snapshots": 3,
        "labels.source": "training",
        "splits.test": "folds",
        "splits.folds": 2,
        "cae.epochs": 2,
    },
    "demo": {
        "architectures.channels": 4,
        "architectures.cells_per_stage": 1,
        "architectures.number": 48,
        "data.name": "digits",
        "training.batch_size": 64,
        "recording.interval": 10,
        "recording.snapshots": 5,
        "labels.source": "training",
        "labels.epochs": 5,
    },
}


def value(settings: Settings, key: str) -> Any:
    section, name = key.split(".")
    return getattr(settings(config.SECTIONS[section]), name)


def test_these_presets_exist() -> None:
    assert config.preset_names() == sorted(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_what_the_table_says(name: str) -> None:
    resolved = config.resolve(config.preset(name))
    assert {key: value(resolved, key) for key in PRESETS[name]} == PRESETS[name]


@pytest.mark.parametrize("name", PRESETS)
def test_every_setting_is_written_with_its_comment_and_read_back(name: str, tmp_path: Path) -> None:
    resolved = config.resolve(config.preset(name))
    text = config.to_toml(resolved, f"# Made from preset {name}.", {})
    lines = text.splitlines()
    assert name in lines[0]
    for section, kind in config.SECTIONS.items():
        at = lines.index(f"[{section}]") + 1
        for field in dataclasses.fields(kind):
            assert lines[at].startswith(f"# {field.metadata['help']}")
            assert lines[at].endswith("not part of the identity)") != field.metadata["identity"]
            assert lines[at + 1].startswith(f"{field.name} = ")
            at += 2
    (tmp_path / "experiment.toml").write_text(text, encoding="utf-8")
    assert config.read(tmp_path / "experiment.toml") == resolved


@pytest.mark.parametrize("text", ['a "quoted" one', "back\\slash", "ünïcode", "[x] # y = z", ""])
def test_any_string_is_read_back(text: str, tmp_path: Path) -> None:
    resolved = config.resolve({"data": {"root": text}})
    (tmp_path / "e.toml").write_text(config.to_toml(resolved, "# heading", {}), encoding="utf-8")
    assert config.read(tmp_path / "e.toml") == resolved


def other(key: str) -> Any:
    """A value that is allowed and not the default."""
    section, name = key.split(".")
    field = next(field for field in dataclasses.fields(config.SECTIONS[section]) if field.name == name)
    choices = [choice for choice in field.metadata["choices"] or () if choice != field.default]
    if choices:
        return choices[0]
    if key == "data.image_size":
        return 4
    if isinstance(field.default, str):
        return field.default + "x"
    return field.default / 2 if isinstance(field.default, float) else field.default + 1


def keys(*, collection: bool) -> list[str]:
    return [
        key
        for key in config.all_keys()
        if (key.split(".")[0] in {kind.SECTION for kind in COLLECTION}) == collection
    ]


@pytest.mark.parametrize("key", sorted(set(keys(collection=True)) - {"architectures.space"}))
def test_the_identity_depends_on_every_setting_of_collection_but_paths(key: str) -> None:
    section, name = key.split(".")
    changed = config.resolve({section: {name: other(key)}})
    assert changed != Settings()
    before, after = (identity_record(c, b"plan", "data")["identity"] for c in (Settings(), changed))
    assert (before == after) == (key in PATHS)


def test_what_reads_the_store_does_not_decide_what_is_collected() -> None:
    assert not set(keys(collection=False)) & set(config.scientific(Settings()))


def test_the_identity_depends_on_plan_data_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    def identity(plan: bytes = b"plan", data: str = "data") -> str:
        return str(identity_record(Settings(), plan, data)["identity"])

    found = [identity(), identity(plan=b"other"), identity(data="other")]
    monkeypatch.setattr(config.training, "NUMERICS_VERSION", 99)
    found.append(identity())
    monkeypatch.setattr(config.schema, "VERSION", 99)
    assert len({*found, identity()}) == 5


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("training.learning_rate=1", 1.0),
        ("training.learning_rate = 1e-3", 1e-3),
        ("training.batch_size=1_000", 1000),
        ('data.root="/a b"', "/a b"),
        ("data.root=/a=b", "/a=b"),
        ("data.root=a", str(Path.cwd() / "a")),
        ("evaluation.sources=/a, b", f"/a,{Path.cwd() / 'b'}"),
        ("labels.column=", ""),
    ],
)
def test_set_reads_values(setting: str, expected: Any) -> None:
    resolved = config.resolve(config.with_settings({}, [setting]))
    found = value(resolved, setting.partition("=")[0].strip())
    assert (found, type(found)) == (expected, type(expected))


def test_the_last_set_wins_and_the_preset_stays_as_it_was() -> None:
    tree = config.preset("demo")
    changed = config.with_settings(tree, ["training.batch_size=1", "training.batch_size=2"])
    assert changed["training"]["batch_size"] == 2
    assert tree == config.preset("demo")


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("training.batch_size", "has no '='"),
        ("", "has no '='"),
        ("batch_size=3", "unknown key batch_size; did you mean cae.batch_size"),
        ("training.batchsize=3", "did you mean training.batch_size"),
        ("zzz=3", "unknown key zzz; known: architectures.space"),
        ("training.batch_size=3.0", "3.0 is not of type int"),
        ("training.batch_size=true", "True is not of type int"),
        ("training.batch_size=" + "9" * 5000, "not of type int"),
        ("training.batch_size=[1]", "not of type int"),
        ("training.batch_size=0", "batch_size = 0 is below the smallest value allowed, 1"),
        ("training.momentum=1.5", "momentum = 1.5 is above the largest value allowed, 1"),
        ("training.learning_rate=nan", "not a finite number"),
        ("training.learning_rate=inf", "not a finite number"),
        ("training.optimizer=lion", "'lion' is not one of 'sgd', 'adamw'"),
        ("data.image_size=3", "does not divide 8"),
        ("data.root=a\nb", "cannot be printed"),
        ("data.root=\udcff", "cannot be printed"),
    ],
)
def test_set_refuses(setting: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config.resolve(config.with_settings(config.preset("demo"), [setting]))
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[training", "not valid TOML"),
        (b"\xff", "not valid TOML"),
        (b"[training]\nbatch_size = " + b"9" * 5000, "not valid TOML"),
        (b"[trainin]\n", "unknown section [trainin]; did you mean training?"),
        (b"training = 3\n", "training = 3 is not a section"),
        (b"[training]\nbatch = 3\n", "unknown key training.batch; did you mean training.batch_size?"),
    ],
)
def test_a_file_that_is_not_right_is_refused(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "experiment.toml").write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        config.read(tmp_path / "experiment.toml")
    assert says in str(raised.value)
