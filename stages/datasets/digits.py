"""`digits`: scikit-learn's 1,797 real 8x8 images, the data set that needs no files (SPEC R12)."""

from __future__ import annotations

import hashlib
import importlib

import numpy as np
from numpy.typing import NDArray

from stages.datasets.images import LabelledImages, RawImages, permutation


def read(split_seed: int) -> RawImages:
    """Read all images and split them 60/20/20 into training, validation and label images, class by class.

    The pixels' 0 … 16 become 0 … 255, halves rounded up.
    """
    everything = _everything()
    parts = _stratified(everything.labels, split_seed)
    train, pool, test = (everything.take(part) for part in parts)
    return RawImages(train=train, pool=pool, test=test)


def digest() -> str:
    """SHA-256 of the images and labels that scikit-learn ships."""
    everything = _everything()
    return hashlib.sha256(everything.images.tobytes() + everything.labels.astype("<i8").tobytes()).hexdigest()


def _everything() -> LabelledImages:
    # A second to import, which only this data set should pay.
    bunch = importlib.import_module("sklearn.datasets").load_digits()
    levels = np.asarray(bunch.images).astype(np.int64)
    images = ((levels * 255 + 8) // 16).astype(np.uint8)[:, None]
    return LabelledImages(images=images, labels=np.asarray(bunch.target).astype(np.int64))


def _stratified(labels: NDArray[np.int64], seed: int) -> list[NDArray[np.int64]]:
    """Sorted indices of the three parts; each class is cut at 60 and 80 per cent."""
    parts: list[list[NDArray[np.int64]]] = [[], [], []]
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        members = members[permutation(len(members), seed)]
        cuts = [round(0.6 * len(members)), round(0.8 * len(members))]
        for part, indices in zip(parts, np.split(members, cuts), strict=True):
            part.append(indices)
    return [np.sort(np.concatenate(part)) for part in parts]
