"""ImageNet16-120: the first 120 classes of 16x16 ImageNet, in pickled batches (paper, App. D; SPEC R12)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.datasets.checksums import LAYOUTS, Files
from stages.datasets.errors import DataError
from stages.datasets.images import LabelledImages, RawImages, permutation
from stages.datasets.restricted_pickle import UnsafePickleError, loads

SIDE = 16
MOST_LABELS = 1000


def read(files: Files, classes: int, split_seed: int) -> RawImages:
    """Read all batches and keep the labels 1 … `classes`.

    The validation set, in a fixed random order, is the pool; the data set has no test images of its own.

    Raises:
        DataError: A file is missing, altered, not in the format, or its pickle asks for more than arrays.
    """
    *train_files, validation_file = LAYOUTS["imagenet16_120"].files
    batches = [_batch(files, file, classes) for file in train_files]
    train = LabelledImages(
        images=np.concatenate([batch.images for batch in batches]),
        labels=np.concatenate([batch.labels for batch in batches]),
    )
    pool = _batch(files, validation_file, classes)
    if not len(train) or not len(pool):
        raise DataError(
            f"{files.folder}: no images with labels 1 … {classes}; unpack the official archive again"
        )
    pool = pool.take(permutation(len(pool), split_seed))
    return RawImages(train=train, pool=pool, test=pool.take(np.arange(0)))


def _batch(files: Files, file: str, classes: int) -> LabelledImages:
    content = files.read(file)
    try:
        batch = loads(content)
    except UnsafePickleError as error:
        raise DataError(f"{files.path(file)}: {error}; fetch the official file again") from error
    pixels, labels = _arrays(batch, str(files.path(file)))
    kept = labels <= classes
    return LabelledImages(images=pixels[kept].reshape(-1, 3, SIDE, SIDE), labels=labels[kept] - 1)


def _arrays(batch: Any, where: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    if not isinstance(batch, dict) or not {"data", "labels"} <= batch.keys():
        raise DataError(f"{where}: no dictionary with data and labels; fetch the official file again")
    pixels, labels = batch["data"], _numbers(batch["labels"])
    if (
        not isinstance(pixels, np.ndarray)
        or pixels.dtype != np.uint8
        or pixels.shape[1:] != (3 * SIDE * SIDE,)
    ):
        raise DataError(f"{where}: data is not uint8 (N, 768); fetch the official file again")
    if (
        labels is None
        or labels.shape != pixels.shape[:1]
        or (labels.size and not 1 <= labels.min() <= labels.max() <= MOST_LABELS)
    ):
        raise DataError(
            f"{where}: labels are not {len(pixels)} whole numbers from 1; fetch the official file again"
        )
    return pixels, labels.astype(np.int64)


def _numbers(labels: Any) -> NDArray[Any] | None:
    """Whole numbers as an array; a list of other things may take for ever to become one."""
    if isinstance(labels, list) and all(type(label) is int and abs(label) < 2**31 for label in labels):
        return np.asarray(labels, np.int64)
    return labels if isinstance(labels, np.ndarray) and labels.dtype.kind in "iu" else None
