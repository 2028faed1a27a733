"""Order and augmentation are pure functions of seed and step (R9, R10)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.training.augmentation import augment, prepare_batch
from stages.training.order import augmentation_draws, batch_indices, batches_per_epoch, epoch_order, generator


def test_an_epoch_is_196_batches_and_visits_every_image_once() -> None:
    assert batches_per_epoch(50_000, 256) == 196
    batches = [batch_indices(4, step, 50_000, 256) for step in range(1, 197)]
    assert len(batches[-1]) == 80
    assert np.array_equal(np.concatenate(batches), epoch_order(4, 0, 50_000))
    assert np.array_equal(np.sort(np.concatenate(batches)), np.arange(50_000))
    assert np.array_equal(batch_indices(4, 197, 50_000, 256), epoch_order(4, 1, 50_000)[:256])


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 500), st.integers(1, 300), st.integers(1, 64))
def test_batches_do_not_depend_on_what_was_asked_before(seed: int, step: int, n: int, size: int) -> None:
    first = batch_indices(seed, step, n, size)
    first[:] = -1  # a caller's array is his own
    batch_indices(seed + 1, step + 7, n, size)
    again = batch_indices(seed, step, n, size)
    epoch, position = divmod(step - 1, batches_per_epoch(n, size))
    assert np.array_equal(again, epoch_order(seed, epoch, n)[position * size : (position + 1) * size])
    assert again.dtype == np.int64


def test_streams_differ_by_seed_purpose_and_counter() -> None:
    keys = [(4, "a", 1), (5, "a", 1), (4, "b", 1), (4, "a", 2), (4, "a", 0), (4, "a", 2**32 + 1)]
    draws = {generator(*key).integers(2**63) for key in keys}
    assert len(draws) == len(keys)
    assert generator(4, "a", 1).integers(2**63) == generator(4, "a", 1).integers(2**63)


def test_step_counts_from_one() -> None:
    with pytest.raises(ValueError, match="from 1"):
        batch_indices(4, 0, 10, 2)


def test_draws_cover_their_range_for_each_image() -> None:
    flips, offsets = augmentation_draws(4, 1, 4096, 4)
    assert 0.45 < flips.mean() < 0.55
    assert (np.bincount(offsets[:, 0], minlength=9) > 380).all()
    assert (np.bincount(offsets[:, 1], minlength=9) > 380).all()
    assert abs(np.corrcoef(offsets.T)[0, 1]) < 0.05
    assert not np.array_equal(flips, augmentation_draws(4, 2, 4096, 4)[0])


def test_a_data_set_without_flip_keeps_its_crops() -> None:
    flips, offsets = augmentation_draws(4, 9, 64, 1, flip=False)
    assert not flips.any()
    assert np.array_equal(offsets, augmentation_draws(4, 9, 64, 1)[1])
    assert not augmentation_draws(4, 9, 64, 0)[1].any()


def loop(images: torch.Tensor, flips: np.ndarray, offsets: np.ndarray, pad: int) -> torch.Tensor:
    """Flip, pad with zeros, crop: one image after the other."""
    out = torch.empty_like(images)
    height, width = images.shape[2:]
    for i, image in enumerate(images):
        image = image.flip(2) if flips[i] else image
        padded = torch.zeros(image.shape[0], height + 2 * pad, width + 2 * pad, dtype=images.dtype)
        padded[:, pad : pad + height, pad : pad + width] = image
        row, column = (int(offset) for offset in offsets[i])
        out[i] = padded[:, row : row + height, column : column + width]
    return out


@pytest.mark.parametrize(
    ("channels", "size", "pad"), [(3, 32, 4), (3, 16, 2), (1, 8, 1), (3, 8, 0), (1, 28, 3)]
)
def test_augment_equals_the_plain_loop(channels: int, size: int, pad: int) -> None:
    images = torch.rand(100, channels, size, size, generator=torch.Generator().manual_seed(1))
    flips, offsets = augmentation_draws(4, 3, 100, pad)
    result = augment(images, torch.from_numpy(flips), torch.from_numpy(offsets), pad)
    assert torch.equal(result, loop(images, flips, offsets, pad))


@pytest.mark.parametrize("with_mean_image", [False, True])
def test_prepare_batch_pads_before_normalizing(with_mean_image: bool) -> None:
    rng = torch.Generator().manual_seed(2)
    images = torch.randint(0, 256, (50, 3, 16, 16), dtype=torch.uint8, generator=rng)
    mean_image = torch.rand(3, 16, 16, generator=rng) if with_mean_image else None
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.25, 0.3])
    flips, offsets = augmentation_draws(4, 5, 50, 2)
    draws = {"flips": torch.from_numpy(flips), "offsets": torch.from_numpy(offsets)}
    result = prepare_batch(images, mean, std, mean_image=mean_image, pad=2, **draws)
    scaled = images.float().div(255) - (0 if mean_image is None else mean_image)
    expected = (loop(scaled, flips, offsets, 2) - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    assert torch.equal(result, expected)
    assert result.dtype == torch.float32


def test_prepare_batch_without_draws_only_normalizes() -> None:
    images = torch.full((2, 1, 8, 8), 255, dtype=torch.uint8)
    result = prepare_batch(images, torch.tensor([0.5]), torch.tensor([0.25]))
    assert torch.equal(result, torch.full((2, 1, 8, 8), 2.0))
