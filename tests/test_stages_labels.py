"""Labels: fractions from tables and NAS-Bench-201's file, wrong units and exploits refused (R13)."""

from __future__ import annotations

import gzip
import importlib.util
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.labels.config import LabelsConfig
from stages.labels.errors import LabelError
from stages.labels.nasbench201_api import read_api_file
from stages.labels.table import read_table
from stages.search_spaces.nasbench201.genotype import Genotype
from stages.search_spaces.nasbench201.space import NASBench201
from stages.settings import ConfigError

needs_api = pytest.mark.skipif(
    importlib.util.find_spec("nas_201_api") is None, reason="nas-bench-201 is not installed"
)
needs_pyarrow = pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed"
)


def config(path: Path | str, column: str = "acc", unit: str = "percent") -> LabelsConfig:
    return LabelsConfig(source="table", table=str(path), column=column, unit=unit)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text("arch_str,acc\n|a~0|,50\n|b~0|,94.37\n")
    return path


def test_real_table(shared_data: Path) -> None:
    path = shared_data / "nasbench201.csv.gz"
    for column in ("cifar10_test", "cifar100_test", "imagenet16_test"):
        labels = read_table(config(path, column))
        assert len(labels) == 12_625
        assert 0 < min(labels.values()) < 0.2 < max(labels.values()) < 0.9438
    with pytest.raises(LabelError, match='unit = "percent"'):
        read_table(config(path, "cifar10_test", "fraction"))


def test_csv_plain_gzipped_or_by_variable(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {"|a~0|": 0.5, "|b~0|": pytest.approx(0.9437)}
    assert read_table(config(table)) == expected
    packed = table.with_suffix(".csv.gz")
    packed.write_bytes(gzip.compress(table.read_bytes()))
    assert read_table(config(packed)) == expected
    monkeypatch.setenv("NAP2_LABELS_TABLE", str(table))
    assert read_table(config("")) == expected


@needs_pyarrow
def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("arch_str,acc\n|a~0|,50\n", encoding="utf-8-sig")
    assert read_table(config(path)) == {"|a~0|": 0.5}


@pytest.mark.parametrize(("separator", "name"), [(";", "';'"), ("\t", "tab"), ("|", "'|'")])
def test_a_wrong_separator_is_named(separator: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"arch_str{separator}acc\nx{separator}50\n")
    with pytest.raises(LabelError, match=f"separated by {re.escape(name)}.*commas"):
        read_table(config(path))


def test_names_of_columns_are_quoted(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("arch_str, acc ,other\nx,50,1\n")
    with pytest.raises(LabelError, match=r"set labels\.column to one of 'arch_str', ' acc ', 'other'"):
        read_table(config(path))


def test_rows_that_name_no_network_are_counted_and_the_first_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = [str(Genotype.from_number(number)) for number in range(300)]
    rows = [f" {name} ,{50 + number / 10}" for number, name in enumerate(names)]
    rows[7] = rows[7].replace("none", "nothing")
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(["arch_str,acc", *rows]) + "\n")
    found = read_table(config(path), NASBench201().parse)
    assert set(found) == set(names) - {names[7]}
    (said,) = caplog.messages
    assert "skips 1 of 300 rows" in said
    assert "row 8" in said
    assert "nothing" in said


def test_a_table_of_another_spelling_is_refused(tmp_path: Path) -> None:
    names = [str(Genotype.from_number(number)).replace("nor_conv_3x3", "conv3x3") for number in range(300)]
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(["arch_str,acc", *(f"{name},50" for name in names)]) + "\n")
    with pytest.raises(LabelError, match=r"\d+ of 300 rows.*row \d+.*conv3x3.*nor_conv_3x3"):
        read_table(config(path), NASBench201().parse)


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "labels.parquet"
    parquet.write_table(pyarrow.table({"arch_str": ["a", "b"], "acc": [0.5, 0.75]}), path)
    assert read_table(config(path, unit="fraction")) == {"a": 0.5, "b": 0.75}


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "labels.parquet"
    path.touch()
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(LabelError, match="pip install pyarrow"):
        read_table(config(path))


@pytest.mark.parametrize(
    ("body", "unit", "message"),
    [
        ("a,0.5\nb,0.9\n", "percent", 'set labels.unit = "fraction"'),
        ("a,50\nb,90\n", "fraction", 'set labels.unit = "percent"'),
        ("a,50\nb,nan\n", "percent", "row 2, column acc: 'nan' is not a finite number"),
        ("a,50\nb,\n", "percent", "row 2, column acc: '' is not a number"),
        ("a,50\nb\n", "percent", "row 2, column acc: None is not a number"),
        ("a,50\nb,101\n", "percent", r"accuracy 101.0 is outside \[0, 100\]"),
        ("a,0.5\nb,-0.1\n", "fraction", r"accuracy -0.1 is outside \[0, 1\]"),
        ("a,50\na,51\n", "percent", "row 2: architecture 'a' is empty or has two labels"),
        (",50\n", "percent", "row 1: architecture '' is empty"),
        ("", "percent", "no rows"),
    ],
)
def test_wrong_values_are_named(tmp_path: Path, body: str, unit: str, message: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("arch_str,acc\n" + body)
    with pytest.raises(LabelError, match=message):
        read_table(config(path, unit=unit))


def test_missing_file_or_column(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LabelError, match=r"labels\.column to one of 'arch_str', 'acc'"):
        read_table(config(table, "accuracy"))
    with pytest.raises(LabelError, match=r"none\.csv: label file is missing"):
        read_table(config(tmp_path / "none.csv"))
    monkeypatch.delenv("NAP2_LABELS_TABLE", raising=False)
    with pytest.raises(LabelError, match="NAP2_LABELS_TABLE"):
        read_table(config(""))


def test_damaged_gzip(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv.gz"
    path.write_bytes(gzip.compress(b"arch_str,acc\na,50\n" * 50)[:-12])
    with pytest.raises(LabelError, match="cannot be read as CSV"):
        read_table(config(path))


@pytest.mark.parametrize("settings", [{"source": "web"}, {"unit": "permille"}, {"epochs": -1}])
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"labels.{next(iter(settings))}"):
        LabelsConfig(**settings)


# NAS-Bench-201's own file


def trial(name: str, seed: int, epochs: int, accuracies: dict[str, float]) -> dict[str, Any]:
    """State of one trial, as nas_201_api 2.1 keeps it."""
    last = epochs - 1
    return {
        "name": name,
        "net_state_dict": None,
        "train_acc1es": {last: 99.0},
        "train_acc5es": None,
        "train_losses": {last: 0.1},
        "train_times": None,
        "arch_config": {"channel": 16, "num_cells": 5, "class_num": 10},
        "params": np.float64(0.5),
        "flop": np.float64(20.0),
        "seed": seed,
        "epochs": epochs,
        "latency": [0.01],
        "eval_names": list(accuracies),
        "eval_acc1es": {f"{key}@{last}": np.float64(value) for key, value in accuracies.items()},
        "eval_times": {},
        "eval_losses": {f"{key}@{last}": 1.0 for key in accuracies},
    }


def results(index: int, arch: str, epochs: int) -> dict[str, Any]:
    runs = OrderedDict()
    for seed, shift in ((777, 0.0), (888, 2.0)):
        runs["cifar10", seed] = trial("cifar10", seed, epochs, {"ori-test": 80.0 + index + shift})
        sets = {"ori-test": 60.0, "x-valid": 61.0, "x-test": 50.0 + index + shift}
        runs["cifar100", seed] = trial("cifar100", seed, epochs, sets)
    return {
        "arch_index": index,
        "arch_str": arch,
        "all_results": runs,
        "dataset_seed": {"cifar10": [777, 888], "cifar100": [777, 888]},
        "clear_net_done": True,
    }


def write_api_file(path: Path, legacy: bool, damage: Any = None) -> None:
    archs = ["|a~0|", "|b~0|"]
    infos = {
        i: {"full": results(i, arch, 200), "less": results(i + 5, arch, 12)} for i, arch in enumerate(archs)
    }
    if damage is not None:
        infos[1]["full"]["arch_index"] = damage
    content = {"meta_archs": archs, "total_archs": 2, "arch2infos": infos, "evaluated_indexes": {0, 1}}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)


@needs_api
@pytest.mark.parametrize("legacy", [True, False])
def test_api_file_gives_the_mean_test_accuracy(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "nasbench.pth"
    write_api_file(path, legacy)
    assert read_api_file(path, "cifar10") == pytest.approx({"|a~0|": 0.81, "|b~0|": 0.82})
    assert read_api_file(path, "cifar100") == pytest.approx({"|a~0|": 0.51, "|b~0|": 0.52})
    assert read_api_file(path, "cifar10", hp="12") == pytest.approx({"|a~0|": 0.86, "|b~0|": 0.87})
    with pytest.raises(LabelError, match="no architecture has results on ImageNet16-120"):
        read_api_file(path, "ImageNet16-120")


@needs_api
def test_api_agrees_with_the_packages_own_query(tmp_path: Path) -> None:
    api = pytest.importorskip("nas_201_api")
    path = tmp_path / "nasbench.pth"
    write_api_file(path, legacy=True)
    content = torch.load(path, weights_only=False)  # written just above
    bench = api.NASBench201API(content, verbose=False)
    for dataset in ("cifar10", "cifar100"):
        labels = read_api_file(path, dataset)
        for index, arch in enumerate(bench.meta_archs):
            info = bench.get_more_info(index, dataset, hp="200", is_random=False)
            assert labels[arch] == pytest.approx(info["test-accuracy"] / 100)


class Exploit:
    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[object, ...]:
        return open, (self.mark, "w")


@needs_api
@pytest.mark.parametrize("legacy", [True, False])
def test_exploit_is_refused_unexecuted(tmp_path: Path, legacy: bool) -> None:
    path, mark = tmp_path / "nasbench.pth", tmp_path / "executed"
    write_api_file(path, legacy, damage=Exploit(mark))
    with pytest.raises(LabelError, match="refused"):
        read_api_file(path, "cifar10")
    assert not mark.exists()


@needs_api
@pytest.mark.parametrize("content", [b"", b"garbage" * 10, b"PK\x03\x04 cut off"])
def test_damaged_api_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "nasbench.pth"
    path.write_bytes(content)
    with pytest.raises(LabelError, match=r"nasbench\.pth: "):
        read_api_file(path, "cifar10")


def test_unknown_data_set_or_schedule(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="'svhn'"):
        read_api_file(tmp_path / "x.pth", "svhn")
    with pytest.raises(LabelError, match="'90'"):
        read_api_file(tmp_path / "x.pth", "cifar10", hp="90")


def test_api_package_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "nas_201_api", None)
    with pytest.raises(LabelError, match=r"pip install nas-bench-201==2\.1"):
        read_api_file(tmp_path / "x.pth", "cifar10")
