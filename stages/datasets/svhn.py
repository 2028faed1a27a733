"""SVHN's cropped digits in the official MATLAB files (paper, D.4.1; R12)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stages.datasets import matlab
from stages.datasets.checksums import Files
from stages.datasets.dataset import DataSet, md5
from stages.datasets.errors import DataError
from stages.datasets.images import LabelledImages, RawImages, permutation

SIDE = 32
# As torchvision's SVHN publishes them.
CHECKSUMS: Final = md5(
    {
        "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
        "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
    }
)


def read(files: Files, classes: int, split_seed: int) -> RawImages:
    """Read both files; a fixed 70 % of the training images train (51,280 of 73,257), the rest validates.

    Raises:
        DataError: A file is missing, altered or not in SVHN's format.
    """
    train, test = (_images(files, file, classes) for file in files.names)
    order = permutation(len(train), split_seed)
    cut = (7 * len(train) + 5) // 10
    return RawImages(train=train.take(order[:cut]), pool=train.take(order[cut:]), test=test)


def _images(files: Files, file: str, classes: int) -> LabelledImages:
    content = _variables(files, file)
    images, labels = content.get("X"), content.get("y")
    if images is None or labels is None or not _is_svhn(images, labels):
        raise DataError(
            f"{files.path(file)}: no images X (32, 32, 3, N) with labels y (N, 1); is this SVHN format 2?"
        )
    labels = np.asarray(labels).reshape(-1).astype(np.int64)
    if labels.size == 0 or labels.min() < 1 or labels.max() > classes:
        raise DataError(f"{files.path(file)}: labels are not all in 1 … 10; unpack the official file again")
    return LabelledImages(
        images=np.ascontiguousarray(images.transpose(3, 2, 0, 1)),
        labels=labels % classes,  # the digit 0 has the label 10
    )


def _variables(files: Files, file: str) -> dict[str, NDArray[Any]]:
    content = files.read(file)
    try:
        return matlab.read(content, ("X", "y"))
    except ValueError as error:
        raise DataError(
            f"{files.path(file)}: not a MATLAB file ({error}); fetch the official file again"
        ) from error


def _is_svhn(images: Any, labels: Any) -> bool:
    return (
        isinstance(images, np.ndarray)
        and isinstance(labels, np.ndarray)
        and images.dtype == np.uint8
        and images.ndim == 4
        and images.shape[:3] == (SIDE, SIDE, 3)
        and labels.size == images.shape[3]
    )


SVHN: Final = DataSet(
    name="svhn",
    size=SIDE,
    classes=10,
    training_images=51_280,
    read=read,
    folder="svhn",
    files=tuple(CHECKSUMS),
    checksums=CHECKSUMS,
    moments=((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    pad=False,
    flip=False,
)
