"""Images in memory: arrays that check themselves, splits, pooling and channel statistics (R12)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.datasets.errors import DataError


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Images uint8 (N, C, H, W) with their labels int64 (N,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Check shapes and types."""
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise DataError(
                f"images are {self.images.dtype} {self.images.shape}, expected uint8 (N, C, H, W)"
            )
        if self.labels.shape != self.images.shape[:1]:
            raise DataError(f"{self.labels.shape[0]} labels do not fit {self.images.shape[0]} images")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def digest(self) -> str:
        """SHA-256 of the images and labels, in their order."""
        return hashlib.sha256(self.images.tobytes() + self.labels.astype("<i8").tobytes()).hexdigest()

    def take(self, indices: NDArray[np.int64]) -> LabelledImages:
        """Copies of the images at `indices`, in that order."""
        return LabelledImages(images=self.images[indices], labels=self.labels[indices])

    def pooled(self, size: int) -> LabelledImages:
        """The images averaged down to `size` pixels a side, halves rounded up; itself if nothing changes."""
        side = self.images.shape[-1]
        if side == size:
            return self
        factor = side // size
        blocks = self.images.reshape(*self.images.shape[:2], size, factor, size, factor)
        total = blocks.sum(axis=(3, 5), dtype=np.uint32)
        area = factor * factor
        return LabelledImages(images=((total + area // 2) // area).astype(np.uint8), labels=self.labels)


@dataclass(frozen=True, kw_only=True)
class RawImages:
    """A data set before selection: training images, the whole validation pool, and images kept for labels.

    Without `test`, what is left of the pool is kept for labels.
    """

    train: LabelledImages
    pool: LabelledImages
    test: LabelledImages | None


def permutation(n: int, seed: int) -> NDArray[np.int64]:
    """A fixed permutation of 0 … n - 1.

    NumPy guarantees the legacy generator's stream for good, so a split never changes with a library version.
    """
    return np.random.RandomState(seed).permutation(n).astype(np.int64)


def half_of_test(train: LabelledImages, test: LabelledImages, seed: int) -> RawImages:
    """A fixed half of the test images validates, the other half is kept for labels (R12, R13)."""
    order = permutation(len(test), seed)
    half = len(test) // 2
    return RawImages(train=train, pool=test.take(order[:half]), test=test.take(order[half:]))


def fifths(everything: LabelledImages, seed: int) -> tuple[LabelledImages, LabelledImages, LabelledImages]:
    """Three fifths to train on, one to validate, one kept for labels: fixed, each class cut by itself (R12)."""
    parts: list[list[NDArray[np.int64]]] = [[], [], []]
    for label in np.unique(everything.labels):
        members = np.flatnonzero(everything.labels == label)
        members = members[permutation(len(members), seed)]
        cuts = [round(0.6 * len(members)), round(0.8 * len(members))]
        for part, indices in zip(parts, np.split(members, cuts), strict=True):
            part.append(indices)
    train, validation, test = (everything.take(np.sort(np.concatenate(part))) for part in parts)
    return train, validation, test


def channel_moments(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of each channel of images / 255, exact to float32.

    Counted in a histogram: 256 bins a channel, whatever the number of images.
    """
    values = np.arange(256) / 255
    counts = np.stack([np.bincount(images[:, c].reshape(-1), minlength=256) for c in range(images.shape[1])])
    weights = counts / counts.sum(axis=1, keepdims=True)
    mean = weights @ values
    std = np.sqrt(np.sum(weights * (values - mean[:, None]) ** 2, axis=1))
    return mean.astype(np.float32), std.astype(np.float32)


def mean_image(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean of images / 255 over all images, (C, H, W)."""
    mean: NDArray[np.float64] = images.sum(axis=0, dtype=np.int64) / (255 * len(images))
    return mean.astype(np.float32)
