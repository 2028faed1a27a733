"""Data order and augmentation draws, pure functions of seed and step: resume is exact (R9, R10)."""

from __future__ import annotations

from functools import lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray


def generator(seed: int, purpose: str, counter: int) -> np.random.Generator:
    """A generator of its own for one purpose at one point of training.

    Args:
        seed: The experiment's seed, not negative.
        purpose: What the draws are for; different purposes never share a stream.
        counter: Epoch or global step, not negative.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(crc32(purpose.encode()), counter))
    return np.random.Generator(np.random.Philox(sequence))


def batches_per_epoch(n: int, batch_size: int) -> int:
    """Mini-batches of an epoch, the last partial one included: 196 for 50,000 images at 256 (R9)."""
    return -(-n // batch_size)


def epoch_order(seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    """Order of the n training images in an epoch, counted from 0."""
    return _order(seed, epoch, n).copy()


def batch_indices(seed: int, step: int, n: int, batch_size: int) -> NDArray[np.int64]:
    """Indices of the images of a mini-batch.

    Args:
        seed: The experiment's seed.
        step: Global mini-batch, counted from 1.
        n: Number of training images.
        batch_size: Images of a mini-batch; the epoch's last one may have fewer.
    """
    if step < 1:
        raise ValueError(f"mini-batches count from 1, not from {step}")
    epoch, position = divmod(step - 1, batches_per_epoch(n, batch_size))
    start = position * batch_size
    return _order(seed, epoch, n)[start : start + batch_size].copy()


def augmentation_draws(
    seed: int, step: int, batch: int, pad: int, flip: bool = True
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Flips and crop offsets of a mini-batch, drawn for each image (R9).

    Args:
        seed: The experiment's seed.
        step: Global mini-batch, counted from 1.
        batch: Number of images.
        pad: Zero padding on each side; offsets lie in 0 … 2·pad.
        flip: Whether the data set admits mirrored images.

    Returns:
        Flips bool (batch,) with probability 1/2, or all false; offsets int64 (batch, 2): row and column.
    """
    flips = generator(seed, "flip", step).random(batch) < 0.5
    offsets = generator(seed, "crop", step).integers(0, 2 * pad + 1, size=(batch, 2))
    return flips & flip, offsets


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    # Kept between the mini-batches of an epoch; callers get copies.
    return generator(seed, "order", epoch).permutation(n)
