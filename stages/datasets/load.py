"""From settings to arrays: read a data set's verified files, select, pool and normalize (R12)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.datasets.checksums import Files
from stages.datasets.config import DataConfig
from stages.datasets.dataset import DataSet
from stages.datasets.errors import DataError
from stages.datasets.images import LabelledImages, RawImages, channel_moments, fifths, mean_image


@dataclass(frozen=True, kw_only=True)
class ImageData:
    """A data set ready for training: images uint8 (N, C, H, W), labels int64 (N,), how to prepare a batch.

    `test_*` are the images kept for labels: none of them validates (R13). `mean_image`, float32
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
        DataError: A file is missing, truncated, altered or vouched for by nothing, fewer images than
            `data.validation_images` can validate, or what is read is not as the data set's object says.
    """
    dataset = config.dataset
    if dataset.images is not None:
        everything = dataset.images()
        return _prepare(*_divided(everything, config), config, everything.digest())
    assert dataset.read is not None  # it checks that it has the one or the other
    files = Files(config.root, dataset)
    raw = dataset.read(files, dataset.classes, config.split_seed)
    digest = files.digest()
    return _prepare(raw.train, *_selected(raw, config), config, digest)


def check(config: DataConfig) -> None:
    """Check that all files exist, have the right size and are unaltered.

    Raises:
        DataError: The first file that is not so, with the remedy.
    """
    content_digest(config)


def content_digest(config: DataConfig) -> str:
    """SHA-256 over the names and digests of the data set's files: the data's part of the identity.

    The same whether the official list or a manifest vouches for the files. Of a data set without files it is
    over the images and labels.

    Raises:
        DataError: As `load`.
    """
    dataset = config.dataset
    return dataset.images().digest() if dataset.images is not None else Files(config.root, dataset).digest()


def _divided(
    everything: LabelledImages, config: DataConfig
) -> tuple[LabelledImages, LabelledImages, LabelledImages]:
    parts, said = fifths(everything, config.split_seed), config.dataset.training_images
    if len(parts[0]) != said:
        raise DataError(
            f"{config.name}: {len(parts[0])} images train, but its DataSet says {said}; "
            f"correct the one or the other"
        )
    return parts


def _selected(raw: RawImages, config: DataConfig) -> tuple[LabelledImages, LabelledImages]:
    """The images that validate, and those kept for labels."""
    n, available = config.validation_images, len(raw.pool)
    if n > available:
        raise DataError(
            f"data.validation_images = {n}, but {config.name} at hand has only {available} images "
            f"to validate on; set it to {available} or less"
        )
    test = raw.pool.take(np.arange(n, available)) if raw.test is None else raw.test
    return raw.pool.take(np.arange(n)), test


def _prepare(
    train: LabelledImages, validation: LabelledImages, test: LabelledImages, config: DataConfig, digest: str
) -> ImageData:
    dataset = config.dataset
    for part in (train, validation, test):
        _check_kind(part, dataset)
    train, validation, test = (part.pooled(config.size) for part in (train, validation, test))
    mean, std = _moments(dataset, train.images)
    return ImageData(
        train_images=np.ascontiguousarray(train.images),
        train_labels=train.labels,
        validation_images=np.ascontiguousarray(validation.images),
        validation_labels=validation.labels,
        test_images=np.ascontiguousarray(test.images),
        test_labels=test.labels,
        mean=mean,
        std=std,
        mean_image=mean_image(train.images) if dataset.subtract_mean_image else None,
        classes=dataset.classes,
        pad=config.size // 8 if dataset.pad else 0,  # Table 17: 4 of 32, 2 of 16
        flip=dataset.flip,
        digest=digest,
    )


def _check_kind(part: LabelledImages, dataset: DataSet) -> None:
    shape = (dataset.channels, dataset.size, dataset.size)
    if part.images.shape[1:] != shape:
        raise DataError(
            f"{dataset.name}: images are {part.images.shape[1:]}, but its DataSet says {shape} "
            f"(channels, size, size); correct the one or the other"
        )
    odd = part.labels[(part.labels < 0) | (part.labels >= dataset.classes)]
    if odd.size:
        raise DataError(
            f"{dataset.name}: label {odd[0]} is not in 0 … {dataset.classes - 1}, the classes its DataSet has; "
            f"correct the one or the other"
        )


def _moments(dataset: DataSet, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if dataset.moments is None:
        return channel_moments(images)
    mean, std = dataset.moments
    return np.asarray(mean, np.float32), np.asarray(std, np.float32)
