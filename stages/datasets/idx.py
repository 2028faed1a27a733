"""Images and labels in idx files, as of MNIST and its kin: a big-endian header, then unsigned bytes."""

from __future__ import annotations

import math
import struct

import numpy as np
from numpy.typing import NDArray

from stages.datasets.checksums import Files
from stages.datasets.errors import DataError
from stages.datasets.images import LabelledImages, RawImages, half_of_test

SIDE = 28
UNSIGNED_BYTE = 0x08


def read(files: Files, classes: int, split_seed: int) -> RawImages:
    """Read all four files, and halve the test images into a validation pool and label images.

    Raises:
        DataError: A file is missing, altered or not an idx file of the expected shape.
    """
    train = _pair(files, "train", classes)
    test = _pair(files, "t10k", classes)
    return half_of_test(train, test, split_seed)


def parse(content: bytes, where: str) -> NDArray[np.uint8]:
    """The array of an idx file.

    Args:
        content: The uncompressed file.
        where: The file's path, for messages.

    Raises:
        DataError: The header is not that of unsigned bytes, or the length does not fit it.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != UNSIGNED_BYTE or content[3] == 0:
        raise DataError(
            f"{where}: header {content[:4].hex()!r} is not an idx file's; fetch the official file again"
        )
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise DataError(f"{where}: truncated within its header; fetch the official file again")
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise DataError(
            f"{where}: {len(content) - start} bytes instead of {math.prod(shape)} follow the header; "
            f"fetch the official file again"
        )
    try:
        return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
    except (
        ValueError
    ) as error:  # more dimensions than NumPy has, or none of them filled and the others endless
        raise DataError(f"{where}: shape {shape[:4]} … cannot be; fetch the official file again") from error


def _pair(files: Files, prefix: str, classes: int) -> LabelledImages:
    image_file, label_file = f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"
    images = parse(files.read(image_file), str(files.path(image_file)))
    labels = parse(files.read(label_file), str(files.path(label_file)))
    if (
        images.ndim != 3
        or images.shape[1:] != (SIDE, SIDE)
        or labels.shape != images.shape[:1]
        or not labels.size
    ):
        raise DataError(
            f"{files.path(image_file)}: shape {images.shape} with labels {labels.shape}, "
            f"expected (N, 28, 28) and (N,); fetch the official files again"
        )
    if labels.max() >= classes:
        raise DataError(f"{files.path(label_file)}: label {labels.max()} is not below {classes}")
    return LabelledImages(images=images[:, None].copy(), labels=labels.astype(np.int64))
