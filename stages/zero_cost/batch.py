"""The one batch that proxies look at: images drawn from the data set, or noise in their shape."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from stages.training.augmentation import prepare_batch
from stages.training.loop import DeviceData
from stages.training.order import generator
from stages.zero_cost.config import ZeroCostConfig
from stages.zero_cost.proxy import Batch


def draw_batch(data: DeviceData, config: ZeroCostConfig) -> Batch:
    """Draw images and labels, the same for every architecture; fewer where the split holds fewer."""
    source = data.source
    images, labels = (
        (source.train_images, source.train_labels)
        if config.split == "train"
        else (source.validation_images, source.validation_labels)
    )
    order = generator(config.seed, "zero-cost images", 0).permutation(len(labels))[: config.batch_size]
    device = data.mean.device
    batch = torch.from_numpy(images[order]).to(device)
    return Batch(
        images=prepare_batch(batch, data.mean, data.std, mean_image=data.mean_image),
        labels=torch.from_numpy(labels[order]).to(device),
        seed=config.seed,
    )


def as_noise(batch: Batch) -> Batch:
    """Return a batch of the same shape whose images are standard normal noise."""
    drawn = generator(batch.seed, "zero-cost noise", 0).standard_normal(batch.images.shape, np.float32)
    return replace(batch, images=torch.from_numpy(drawn).to(batch.images.device))
