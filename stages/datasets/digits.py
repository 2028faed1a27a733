"""`digits`: scikit-learn's 1,797 real 8x8 images, the data set that needs no files (R12)."""

from __future__ import annotations

import importlib
from typing import Final

import numpy as np

from stages.datasets.dataset import DataSet
from stages.datasets.images import LabelledImages


def everything() -> LabelledImages:
    """All images; the pixels' 0 … 16 become 0 … 255, halves rounded up."""
    # A second to import, which only this data set should pay.
    bunch = importlib.import_module("sklearn.datasets").load_digits()
    levels = np.asarray(bunch.images).astype(np.int64)
    images = ((levels * 255 + 8) // 16).astype(np.uint8)[:, None]
    return LabelledImages(images=images, labels=np.asarray(bunch.target).astype(np.int64))


DIGITS: Final = DataSet(
    name="digits",
    size=8,
    classes=10,
    channels=1,
    training_images=1_078,
    images=everything,
    flip=False,
)
