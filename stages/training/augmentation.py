"""Flip, random crop and normalization of a whole mini-batch on its device (paper, D.3; R9)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad as pad_images


def augment(images: Tensor, flips: Tensor, offsets: Tensor, pad: int) -> Tensor:
    """Mirror the images that `flips` marks, then crop each out of its zero-padded self.

    Args:
        images: (B, C, H, W).
        flips: bool (B,).
        offsets: int64 (B, 2), row and column of the crop within the padded image, each in 0 … 2·pad.
        pad: Zeros added on each side.

    Returns:
        Augmented images, (B, C, H, W), on the images' device.
    """
    batch, channels, height, width = images.shape
    device = images.device
    flips, offsets = flips.to(device), offsets.to(device)
    padded = pad_images(images, (pad, pad, pad, pad))
    rows = offsets[:, :1] + torch.arange(height, device=device)
    columns = offsets[:, 1:] + torch.arange(width, device=device)
    # The padding is symmetric, so mirroring the padded image is mirroring before padding.
    columns = torch.where(flips[:, None], width + 2 * pad - 1 - columns, columns)
    return padded[
        torch.arange(batch, device=device)[:, None, None, None],
        torch.arange(channels, device=device)[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


def prepare_batch(
    images: Tensor,
    mean: Tensor,
    std: Tensor,
    *,
    mean_image: Tensor | None = None,
    flips: Tensor | None = None,
    offsets: Tensor | None = None,
    pad: int = 0,
) -> Tensor:
    """Turn stored images into a network's input.

    Divide by 255, subtract the mean image if there is one, augment, normalize: padding is 0 before
    normalization, as in the official order of transforms (Table 17).

    Args:
        images: uint8 (B, C, H, W).
        mean: float32 (C,).
        std: float32 (C,).
        mean_image: float32 (C, H, W), or None.
        flips: bool (B,), or None together with `offsets` for no augmentation (validation).
        offsets: int64 (B, 2), or None.
        pad: Zeros added on each side before the crop.

    Returns:
        float32 (B, C, H, W) on the images' device.
    """
    device = images.device
    batch = images.to(torch.float32) / 255
    if mean_image is not None:
        batch = batch - mean_image.to(device)
    if flips is not None and offsets is not None:
        batch = augment(batch, flips, offsets, pad)
    return (batch - mean.to(device)[:, None, None]) / std.to(device)[:, None, None]
