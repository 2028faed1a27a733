"""From settings to arrays: read a data set's verified files, select, pool and normalize (SPEC R12)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.datasets import cifar, digits, idx, imagenet16, svhn
from stages.datasets.checksums import Files
from stages.datasets.config import CLASSES, DataConfig
from stages.datasets.errors import DataError
from stages.datasets.images import LabelledImages, RawImages, channel_moments, mean_image

TABLE_16 = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2430, 0.2610)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "imagenet16_120": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "svhn": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Channel mean and standard deviation of Table 16; ImageNet16-120 has its mean image subtracted instead."""

UNFLIPPED = frozenset({"digits", "svhn"})
"""Data sets whose images mean something else when mirrored."""


@dataclass(frozen=True, kw_only=True)
class ImageData:
    """A data set ready for training: images uint8 (N, C, H, W), labels int64 (N,), how to prepare a batch.

    `test_*` are the images kept for labels: none of them validates (SPEC R13). `mean_image`, float32
    (C, H, W), is subtracted from images / 255 before augmentation; `mean` and `std`, float32 (C,), normalize
    after it. `digest` is the content digest of the files read.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    validation_images: NDArray[np.uint8]
    validation_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    mean_image: NDArray[np.float32] | None
    classes: int
    pad: int
    flip: bool
    digest: str


def load(config: DataConfig) -> ImageData:
    """Read a data set; every file is verified while it is read.

    Raises:
        DataError: A file is missing, truncated, altered or vouched for by nothing, or fewer images than
            `data.validation_images` can validate.
    """
    if config.name == "digits":
        return _prepare(digits.read(config.split_seed), config, digits.digest())
    files = Files(config.root, config.name)
    raw = _read(files, config)
    return _prepare(raw, config, files.digest())


def check(config: DataConfig) -> None:
    """Check that all files exist, have the right size and are unaltered.

    Raises:
        DataError: The first file that is not so, with the remedy.
    """
    content_digest(config)


def content_digest(config: DataConfig) -> str:
    """SHA-256 over the names and digests of the data set's files: the data's part of the identity.

    The same whether the official list or a manifest vouches for the files.

    Raises:
        DataError: As `load`.
    """
    if config.name == "digits":
        return digits.digest()
    return Files(config.root, config.name).digest()


def _read(files: Files, config: DataConfig) -> RawImages:
    classes = CLASSES[config.name]
    if config.name in ("cifar10", "cifar100"):
        return cifar.read(files, config.name, classes, config.split_seed)
    if config.name == "svhn":
        return svhn.read(files, config.split_seed)
    if config.name == "imagenet16_120":
        return imagenet16.read(files, classes, config.split_seed)
    return idx.read(files, classes, config.split_seed)


def _prepare(raw: RawImages, config: DataConfig, digest: str) -> ImageData:
    raw = raw if config.name == "digits" else _selected(raw, config)
    train, validation, test = (part.pooled(config.size) for part in (raw.train, raw.pool, raw.test))
    mean, std = _normalization(config.name, train.images)
    return ImageData(
        train_images=np.ascontiguousarray(train.images),
        train_labels=train.labels,
        validation_images=np.ascontiguousarray(validation.images),
        validation_labels=validation.labels,
        test_images=np.ascontiguousarray(test.images),
        test_labels=test.labels,
        mean=mean,
        std=std,
        mean_image=mean_image(train.images) if config.name == "imagenet16_120" else None,
        classes=CLASSES[config.name],
        pad=0 if config.name == "svhn" else config.size // 8,  # Table 17: 4 of 32, 2 of 16
        flip=config.name not in UNFLIPPED,
        digest=digest,
    )


def _selected(raw: RawImages, config: DataConfig) -> RawImages:
    n, available = config.validation_images, len(raw.pool)
    if n > available:
        raise DataError(
            f"data.validation_images = {n}, but {config.name} at hand has only {available} images "
            f"to validate on; set it to {available} or less"
        )
    test = _leftover(raw, n) if config.name == "imagenet16_120" else raw.test
    return RawImages(train=raw.train, pool=raw.pool.take(np.arange(n)), test=test)


def _leftover(raw: RawImages, n: int) -> LabelledImages:
    # ImageNet16-120 has no test set of its own: what does not validate is kept for labels.
    return raw.pool.take(np.arange(n, len(raw.pool)))


def _normalization(name: str, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if name not in TABLE_16:
        return channel_moments(images)
    mean, std = TABLE_16[name]
    return np.asarray(mean, np.float32), np.asarray(std, np.float32)
