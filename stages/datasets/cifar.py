"""CIFAR-10 and CIFAR-100 in the official binary version: records of labels and 3,072 pixels (R12)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.datasets.checksums import Files
from stages.datasets.errors import DataError
from stages.datasets.images import LabelledImages, RawImages, half_of_test

SIDE = 32
PIXELS = 3 * SIDE * SIDE


def read(files: Files, classes: int, split_seed: int, *, label_bytes: int) -> RawImages:
    """Read all batches, and halve the test images into a validation pool and label images.

    Args:
        files: The data set's verified files: training batches, and the test batch last.
        classes: Number of classes.
        split_seed: Seed of the halving (R12).
        label_bytes: Bytes before the pixels; the last of them is the (fine) label.

    Raises:
        DataError: A file is missing, truncated, altered or holds a label out of range.
    """
    *train_files, test_file = files.names
    batches = [_batch(files, file, label_bytes, classes) for file in train_files]
    test = _batch(files, test_file, label_bytes, classes)
    train = LabelledImages(
        images=np.concatenate([batch.images for batch in batches]),
        labels=np.concatenate([batch.labels for batch in batches]),
    )
    return half_of_test(train, test, split_seed)


def _batch(files: Files, file: str, label_bytes: int, classes: int) -> LabelledImages:
    content, record = files.read(file), label_bytes + PIXELS
    if not content or len(content) % record:
        raise DataError(
            f"{files.path(file)}: {len(content)} bytes are no multiple of the record length {record}: "
            f"truncated, or not the binary version; unpack the official archive again"
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, record)
    labels: NDArray[np.int64] = rows[:, label_bytes - 1].astype(np.int64)
    if labels.max() >= classes:
        raise DataError(
            f"{files.path(file)}: label {labels.max()} in record {labels.argmax()} is not below {classes}; "
            f"unpack the official archive again"
        )
    return LabelledImages(images=rows[:, label_bytes:].reshape(-1, 3, SIDE, SIDE), labels=labels)
