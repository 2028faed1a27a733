"""Data sets: official formats read exactly, damaged files refused by name (R12)."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from stages.datasets import digits, load, matlab
from stages.datasets.checksums import MANIFEST, names_at, write_manifest
from stages.datasets.config import DataConfig
from stages.datasets.dataset import md5
from stages.datasets.errors import DataError
from stages.datasets.idx import parse
from stages.datasets.images import LabelledImages, channel_moments
from stages.datasets.registry import DATASETS, find_dataset
from stages.datasets.restricted_pickle import UnsafePickleError, loads
from stages.settings import ConfigError


def random_images(n: int, size: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, channels, size, size), dtype=np.uint8)


def write_cifar100(folder: Path, train: int = 30, test: int = 20) -> None:
    folder.mkdir()
    for file, n in (("train.bin", train), ("test.bin", test)):
        records = np.zeros((n, 3074), np.uint8)
        records[:, 1] = np.arange(n) % 100
        records[:, 2:] = random_images(n, 32).reshape(n, -1)
        records.tofile(folder / file)


@pytest.fixture
def cifar100(tmp_path: Path) -> Path:
    write_cifar100(tmp_path / "cifar-100-binary")
    write_manifest(tmp_path, "cifar100")
    return tmp_path


def config(name: str, root: Path | str = "", validation: int = 1, size: int = 0) -> DataConfig:
    return DataConfig(name=name, root=str(root), validation_images=validation, image_size=size)


# Real images


def test_cifar10_has_table_16s_mean(cifar_root: Path) -> None:
    data = load.load(config("cifar10", cifar_root, 5000))
    assert data.train_images.shape == (find_dataset("cifar10").training_images, 3, 32, 32)
    assert len(data.validation_labels) == len(data.test_labels) == 5000
    mean, std = channel_moments(data.train_images)
    np.testing.assert_allclose(mean, data.mean, atol=1e-4)
    np.testing.assert_allclose(std, data.std, atol=7e-4)  # Table 16 truncates 0.2435 and 0.2616
    assert np.bincount(data.train_labels).tolist() == [5000] * 10
    assert (data.pad, data.flip, data.mean_image) == (4, True, None)


def test_cifar10_halves_are_disjoint_and_complete(cifar_root: Path) -> None:
    data = load.load(config("cifar10", cifar_root, 5000))
    kept = np.concatenate([data.validation_images, data.test_images]).reshape(10_000, -1)
    raw = np.fromfile(cifar_root / "cifar-10-batches-bin" / "test_batch.bin", np.uint8).reshape(-1, 3073)
    assert sorted(map(bytes, kept)) == sorted(map(bytes, raw[:, 1:]))


def test_cifar10_smaller_validation_is_a_prefix(cifar_root: Path) -> None:
    few, many = (load.load(config("cifar10", cifar_root, n)) for n in (1000, 5000))
    np.testing.assert_array_equal(few.validation_images, many.validation_images[:1000])
    np.testing.assert_array_equal(few.test_images, many.test_images)
    assert few.digest == many.digest == load.content_digest(config("cifar10", cifar_root))


def test_cifar100_subset_is_admitted_by_its_manifest_alone(cifar_root: Path, tmp_path: Path) -> None:
    for file in ("train.bin", "test.bin"):
        (tmp_path / file).symlink_to(cifar_root / "cifar-100-binary" / file)
    with pytest.raises(DataError, match="pipeline data manifest"):
        load.check(config("cifar100", tmp_path))
    write_manifest(tmp_path, "cifar100")
    data = load.load(config("cifar100", tmp_path, 1000))
    assert np.bincount(data.train_labels).tolist() == [250] * 100


# Files that are missing, truncated or altered


def test_root_may_be_the_folder_or_its_parent_or_a_variable(
    cifar100: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = load.content_digest(config("cifar100", cifar100))
    assert load.content_digest(config("cifar100", cifar100 / "cifar-100-binary")) == digest
    monkeypatch.setenv("NAP2_DATA_ROOT", str(cifar100))
    assert load.content_digest(config("cifar100")) == digest
    assert names_at(cifar100) == ["cifar100"]


def test_no_root_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAP2_DATA_ROOT", raising=False)
    with pytest.raises(DataError, match="NAP2_DATA_ROOT"):
        load.check(config("cifar10"))


@pytest.mark.parametrize("file", ["train.bin", "test.bin"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_damaged_file_is_named(cifar100: Path, file: str, damage: str) -> None:
    path = cifar100 / "cifar-100-binary" / file
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[:-1])
    else:
        content[5000] ^= 1
        path.write_bytes(content)
    for action in (load.load, load.check):
        with pytest.raises(DataError, match=rf"{file}: .*{damage}"):
            action(config("cifar100", cifar100))


def test_official_cifar10_refuses_other_content(tmp_path: Path) -> None:
    for file in find_dataset("cifar10").files:
        (tmp_path / file).write_bytes(bytes(3073))
    with pytest.raises(DataError, match=r"data_batch_1\.bin: truncated, 3073 bytes instead of 30730000"):
        load.load(config("cifar10", tmp_path))


@pytest.mark.parametrize(
    ("record", "reason"), [(bytes(3073), "record length"), (b"\0\x64" + bytes(3072), "label 100")]
)
def test_manifest_does_not_excuse_a_wrong_format(cifar100: Path, record: bytes, reason: str) -> None:
    (cifar100 / "cifar-100-binary" / "train.bin").write_bytes(record)
    write_manifest(cifar100, "cifar100")
    with pytest.raises(DataError, match=rf"train\.bin: .*{reason}"):
        load.load(config("cifar100", cifar100))


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"train.bin": 1, "test.bin": 2}', '{"train.bin": {}, "test.bin": {}}']
)
def test_damaged_manifest_is_named(cifar100: Path, text: str) -> None:
    (cifar100 / "cifar-100-binary" / MANIFEST).write_text(text)
    with pytest.raises(DataError, match=MANIFEST):
        load.check(config("cifar100", cifar100))


def test_manifest_lists_every_file_and_leaves_nothing_behind(cifar100: Path) -> None:
    folder = cifar100 / "cifar-100-binary"
    listed = json.loads((folder / MANIFEST).read_text())
    assert {name: entry["bytes"] for name, entry in listed.items()} == {
        "train.bin": 92_220,
        "test.bin": 61_480,
    }
    assert {path.name for path in folder.iterdir()} == {"train.bin", "test.bin", MANIFEST}


def test_manifest_keeps_to_the_umask(cifar100: Path) -> None:
    before = os.umask(0o077)
    try:
        assert write_manifest(cifar100, "cifar100").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


def test_more_validation_images_than_there_are(cifar100: Path) -> None:
    with pytest.raises(DataError, match="validation_images = 11, but cifar100 at hand has only 10"):
        load.load(config("cifar100", cifar100, 11))


# The other formats, in small files


def test_svhn(tmp_path: Path) -> None:
    for file, n in (("train_32x32.mat", 20), ("test_32x32.mat", 10)):
        labels = (np.arange(n) % 10 + 1).astype(np.uint8)[:, None]
        savemat(tmp_path / file, {"X": random_images(n, 32).transpose(2, 3, 1, 0), "y": labels})
    write_manifest(tmp_path, "svhn")
    data = load.load(config("svhn", tmp_path, 6))
    assert [len(data.train_labels), len(data.validation_labels), len(data.test_labels)] == [14, 6, 10]
    np.testing.assert_array_equal(data.test_labels, [1, 2, 3, 4, 5, 6, 7, 8, 9, 0])
    np.testing.assert_array_equal(data.test_images, random_images(10, 32))
    assert (data.pad, data.flip, data.mean.tolist(), data.std.tolist()) == (0, False, [0.5] * 3, [0.5] * 3)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "array", [np.arange(96, dtype=np.uint8).reshape(4, 4, 3, 2), np.array([[1.0, 2.5]]), np.zeros((2, 0))]
)
def test_matlab_arrays_are_those_that_scipy_writes(packed: bool, array: np.ndarray) -> None:
    file = io.BytesIO()
    others = {"another_name": np.ones((3, 3)), "text": "text", "cells": np.array([[1, "a"]], object)}
    savemat(file, {**others, "X": array}, do_compression=packed)
    found = matlab.read(file.getvalue(), ("X", "y"))
    assert list(found) == ["X"]
    assert found["X"].dtype == array.dtype
    np.testing.assert_array_equal(found["X"], array)


@given(st.data())
def test_any_damage_to_a_matlab_file_is_a_value_error(data: st.DataObject) -> None:
    file = io.BytesIO()
    savemat(file, {"X": np.ones((2, 3)), "y": np.ones((1, 1))}, do_compression=data.draw(st.booleans()))
    content = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ValueError):
        matlab.read(bytes(content), ("X", "y"))


def test_svhn_split_of_the_full_set_is_d41s() -> None:
    assert find_dataset("svhn").training_images == (7 * 73_257 + 5) // 10


def test_svhn_that_is_no_matlab_file(tmp_path: Path) -> None:
    for file in ("train_32x32.mat", "test_32x32.mat"):
        (tmp_path / file).write_bytes(b"<html>not found</html>" * 20)
    with pytest.raises(DataError, match=r"train_32x32\.mat: (altered|truncated)"):
        load.load(config("svhn", tmp_path))
    write_manifest(tmp_path, "svhn")
    with pytest.raises(DataError, match=r"train_32x32\.mat: not a MATLAB file"):
        load.load(config("svhn", tmp_path))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_imagenet16_120(tmp_path: Path, protocol: int) -> None:
    for index, file in enumerate(find_dataset("imagenet16_120").files):
        labels = [1, 120, 121, 1000, 7 + index]
        batch = {"data": random_images(5, 16).reshape(5, -1), "labels": labels, "mean": np.zeros(768)}
        (tmp_path / file).write_bytes(pickle.dumps(batch, protocol=protocol))
    write_manifest(tmp_path, "imagenet16_120")
    data = load.load(config("imagenet16_120", tmp_path, 2))
    assert data.train_labels.tolist() == [label for i in range(10) for label in (0, 119, 6 + i)]
    np.testing.assert_array_equal(data.train_images[:3], random_images(5, 16)[[0, 1, 4]])
    assert sorted([*data.validation_labels, *data.test_labels]) == [0, 16, 119]
    assert data.mean_image is not None
    np.testing.assert_allclose(data.mean_image, (data.train_images / 255).mean(axis=0), rtol=1e-6)
    assert (data.pad, data.flip, data.mean.tolist(), data.std.tolist()) == (2, True, [0.0] * 3, [1.0] * 3)


def write_idx(path: Path, array: np.ndarray) -> None:
    path.write_bytes(struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes())


def write_fashion(folder: Path) -> None:
    for prefix, n in (("train", 12), ("t10k", 8)):
        write_idx(folder / f"{prefix}-images-idx3-ubyte", random_images(n, 28, 1)[:, 0])
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", (np.arange(n) % 10).astype(np.uint8))


def test_fashion_mnist_plain_or_gzipped(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    write_manifest(tmp_path, "fashion_mnist")
    plain = load.load(config("fashion_mnist", tmp_path, 4))
    for path in list(tmp_path.glob("*ubyte")):
        Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    packed = load.load(config("fashion_mnist", tmp_path, 4))
    assert packed.digest == plain.digest
    np.testing.assert_array_equal(packed.train_images, random_images(12, 28, 1))
    np.testing.assert_allclose(packed.mean, (plain.train_images / 255).mean(), rtol=1e-6)
    np.testing.assert_allclose(packed.std, (plain.train_images / 255).std(), rtol=1e-6)
    assert (packed.pad, packed.flip, len(packed.test_labels)) == (3, True, 4)


def test_fashion_mnist_with_a_damaged_gzip(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    write_manifest(tmp_path, "fashion_mnist")
    path = tmp_path / "t10k-images-idx3-ubyte"
    Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes())[:-20])
    path.unlink()
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz: cannot be read"):
        load.load(config("fashion_mnist", tmp_path))


def test_debians_fashion_mnist() -> None:
    root = Path("/usr/share/datasets/fashion-mnist")
    if not root.is_dir():
        pytest.skip("Debian's dataset-fashion-mnist is not installed")
    data = load.load(config("fashion_mnist", root, 5000))
    assert data.train_images.shape == (find_dataset("fashion_mnist").training_images, 1, 28, 28)
    np.testing.assert_allclose([data.mean[0], data.std[0]], [0.2860, 0.3530], atol=1e-4)


@given(st.binary(max_size=40))
def test_idx_parser_raises_nothing_but_its_own_error(content: bytes) -> None:
    try:
        parse(content, "file")
    except DataError as error:
        assert "file: " in str(error)  # noqa: PT017


def test_digits() -> None:
    data = load.load(config("digits"))
    parts = [data.train_labels, data.validation_labels, data.test_labels]
    assert sum(map(len, parts)) == 1797
    assert len(data.train_labels) == find_dataset("digits").training_images
    shares = np.array([np.bincount(part, minlength=10) for part in parts])
    np.testing.assert_allclose(shares / shares.sum(axis=0), [[0.6] * 10, [0.2] * 10, [0.2] * 10], atol=0.01)
    assert (data.train_images.max(), data.train_images.dtype) == (255, np.uint8)
    assert (data.pad, data.flip, data.train_images.shape[1:]) == (1, False, (1, 8, 8))
    np.testing.assert_allclose(data.mean, (data.train_images / 255).mean(), rtol=1e-6)
    assert data.digest == load.content_digest(config("digits"))


# What a data set's object says


@pytest.mark.parametrize("name", DATASETS)
def test_a_data_set_has_the_name_that_the_registry_gives_it(name: str) -> None:
    assert find_dataset(name).name == name


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("digits", {"images": None}, "needs either images or read"),
        ("svhn", {"images": digits.everything}, "needs either images or read"),
        ("svhn", {"files": (), "checksums": {}}, "belong together"),
        ("svhn", {"folder": ""}, "belong together"),
        ("digits", {"folder": "digits", "files": ("a",)}, "belong together"),
        ("svhn", {"checksums": md5({"train_32x32.mat": "0"})}, "test_32x32.mat is not in both"),
        ("digits", {"moments": ((0.5,), (0.5, 0.5))}, "moments are not of 1 channels"),
    ],
)
def test_a_data_set_that_contradicts_itself_is_refused(
    name: str, change: dict[str, object], said: str
) -> None:
    with pytest.raises(ValueError, match=f"'{name}'.*{said}"):
        replace(find_dataset(name), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": 16}, r"images are \(1, 8, 8\), but its DataSet says \(1, 16, 16\)"),
        ({"channels": 3}, r"says \(3, 8, 8\)"),
        ({"classes": 9}, "label 9 is not in 0 … 8"),
        ({"training_images": 1797}, "1078 images train, but its DataSet says 1797"),
    ],
)
def test_images_that_are_not_as_their_data_set_says_are_refused(
    change: dict[str, int], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digits, "DIGITS", replace(digits.DIGITS, **change))
    with pytest.raises(DataError, match=said):
        load.load(config("digits"))


def test_images_may_be_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def enlarged() -> LabelledImages:
        few = digits.everything()
        return LabelledImages(images=few.images.repeat(8, axis=2).repeat(8, axis=3), labels=few.labels)

    native = load.load(config("digits"))
    monkeypatch.setattr(digits, "DIGITS", replace(digits.DIGITS, size=64, images=enlarged))
    assert load.load(config("digits", size=64)).train_images.shape == (1078, 1, 64, 64)
    np.testing.assert_array_equal(load.load(config("digits", size=8)).train_images, native.train_images)
    with pytest.raises(ConfigError, match="image_size = 128 does not divide 64"):
        config("digits", size=128)


# Pickles


class Exploit:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_exploit_is_refused_unexecuted(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "executed"
    content = pickle.dumps({"data": Exploit(mark), "labels": [1]}, protocol=protocol)
    for file in find_dataset("imagenet16_120").files:
        (tmp_path / file).write_bytes(content)
    write_manifest(tmp_path, "imagenet16_120")
    with pytest.raises(DataError, match=r"train_data_batch_1: .*refused"):
        load.load(config("imagenet16_120", tmp_path))
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cos\nsystem\n(S'true'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"c_codecs\nencode\n(S'x'\nS'zlib'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I99999999999\ntS'b'\ntR.",
        pickle.dumps(np.array([{}], dtype=object)),
        pickle.dumps(np.zeros(1, dtype=[("a", "i4")])),
        pickle.dumps({"data": np.zeros(3)}, protocol=4).replace(b"K\x03\x85", b"K\x04\x85"),
        b"cnumpy\nndarray\n(I99999999999\ntR.",
        b"Pelsewhere\n.",
        b"",
        b"garbage",
    ],
)
def test_unsafe_or_damaged_pickles(content: bytes) -> None:
    with pytest.raises(UnsafePickleError):
        loads(content)


def test_numbers_and_python_2_arrays() -> None:
    scalars = [np.float64(1.5), np.int64(-3), np.bool_(True)]
    for protocol in range(6):
        assert loads(pickle.dumps(scalars, protocol=protocol)) == scalars
    python2 = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x03\x85"
        b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x03\x01\xff\x80tb."
    )
    assert loads(python2).tolist() == [1, 255, 128]


# Pooling, settings, imports


def test_pooling_is_the_mean_of_blocks_rounded() -> None:
    images = LabelledImages(images=random_images(3, 32), labels=np.zeros(3, np.int64))
    pooled = images.pooled(8).images
    for n, c, i, j in np.ndindex(pooled.shape):
        block = images.images[n, c, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
        assert pooled[n, c, i, j] == int(block.mean() + 0.5)
    assert images.pooled(32) is images


def test_pooled_data_set_has_a_smaller_pad(cifar100: Path) -> None:
    data = load.load(config("cifar100", cifar100, 1, 16))
    assert (data.train_images.shape, data.pad) == ((30, 3, 16, 16), 2)


@pytest.mark.parametrize(
    "settings", [{"name": "mnist"}, {"image_size": 3}, {"validation_images": 0}, {"root": 1}]
)
def test_settings_out_of_range(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"data.{next(iter(settings))}"):
        DataConfig(**{"name": "cifar10", **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("stages.datasets.load, stages.training.order, stages.labels.table", {"torch"}),
        ("stages.datasets.config", {"torch", "sklearn", "scipy"}),
    ],
)
def test_what_is_heavy_is_not_imported_to_look_at_every_data_set(modules: str, heavy: set[str]) -> None:
    objects = "from stages.datasets.registry import DATASETS, find_dataset; list(map(find_dataset, DATASETS))"
    code = f"import sys, {modules}; {objects}; sys.exit(bool({heavy} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=False).returncode
        == 0
    )
