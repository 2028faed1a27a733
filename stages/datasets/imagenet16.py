"""ImageNet16-120: the first 120 classes of 16x16 ImageNet, in pickled batches (paper, App. D; R12)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stages.datasets.checksums import Files
from stages.datasets.dataset import DataSet, md5
from stages.datasets.errors import DataError
from stages.datasets.images import LabelledImages, RawImages, permutation
from stages.datasets.restricted_pickle import UnsafePickleError, loads

SIDE = 16
MOST_LABELS = 1000
# As NAS-Bench-201's authors publish them with their reader of ImageNet16.
CHECKSUMS: Final = md5(
    {
        "train_data_batch_1": "27846dcaa50de8e21a7d1a35f30f0e91",
        "train_data_batch_2": "c7254a054e0e795c69120a5727050e3f",
        "train_data_batch_3": "4333d3df2e5ffb114b05d2ffc19b1e87",
        "train_data_batch_4": "1620cdf193304f4a92677b695d70d10f",
        "train_data_batch_5": "348b3c2fdbb3940c4e9e834affd3b18d",
        "train_data_batch_6": "6e765307c242a1b3d7d5ef9139b48945",
        "train_data_batch_7": "564926d8cbf8fc4818ba23d2faac7564",
        "train_data_batch_8": "f4755871f718ccb653440b9dd0ebac66",
        "train_data_batch_9": "bb6dd660c38c58552125b1a92f86b5d4",
        "train_data_batch_10": "8f03f34ac4b42271a294f91bf480f29b",
        "val_data": "3410e3017fdaefba8d5073aaa65e4bd6",
    }
)


def read(files: Files, classes: int, split_seed: int) -> RawImages:
    """Read all batches and keep the labels 1 … `classes`.

    The validation set, in a fixed random order, is the pool; what does not validate is kept for labels.

    Raises:
        DataError: A file is missing, altered, not in the format, or its pickle asks for more than arrays.
    """
    *train_files, validation_file = files.names
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
    return RawImages(train=train, pool=pool, test=None)


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


IMAGENET16_120: Final = DataSet(
    name="imagenet16_120",
    size=SIDE,
    classes=120,
    training_images=151_700,
    read=read,
    folder="ImageNet16",
    files=tuple(CHECKSUMS),
    checksums=CHECKSUMS,
    moments=((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),  # Table 16: the mean image is subtracted instead
    subtract_mean_image=True,
)
