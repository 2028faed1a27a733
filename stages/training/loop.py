"""One network's training, mini-batch by mini-batch (R3, R4, R9, R10)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from stages.datasets.load import ImageData
from stages.training.augmentation import prepare_batch
from stages.training.config import TrainingConfig
from stages.training.order import augmentation_draws, batch_indices, batches_per_epoch


@dataclass(frozen=True)
class DeviceData:
    """The data set's arrays as tensors on the device, images uint8."""

    source: ImageData
    train_images: Tensor
    train_labels: Tensor
    mean: Tensor
    std: Tensor
    mean_image: Tensor | None

    @classmethod
    def of(cls, data: ImageData, device: torch.device) -> DeviceData:
        """Move what training needs to the device; on a CPU nothing is copied."""
        mean_image = None if data.mean_image is None else torch.from_numpy(data.mean_image).to(device)
        return cls(
            source=data,
            train_images=torch.from_numpy(data.train_images).to(device),
            train_labels=torch.from_numpy(data.train_labels).to(device),
            mean=torch.from_numpy(data.mean).to(device),
            std=torch.from_numpy(data.std).to(device),
            mean_image=mean_image,
        )


class Trainer:
    """A network, its optimizer and the next mini-batch.

    Args:
        network: The network, on the device of the data.
        data: The data set.
        config: How to train; its seed and the step decide order and augmentation.
    """

    def __init__(self, network: nn.Module, data: DeviceData, config: TrainingConfig) -> None:
        self.network = network
        self.optimizer = make_optimizer(network, config)
        self._data, self._config = data, config

    def backward(self, step: int) -> Tensor:
        """Run mini-batch `step` (from 1) forward and backward; returns its mean loss, a scalar on the device."""
        images, labels = self._batch(step)
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(self.network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        fill_missing_gradients(self.network)
        return loss.detach()

    def update(self, step: int) -> None:
        """Move the weights by the gradients of mini-batch `step`."""
        rate = learning_rate(self._config, step, len(self._data.train_labels))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        data, config = self._data, self._config
        index = torch.from_numpy(batch_indices(config.seed, step, len(data.train_labels), config.batch_size))
        index = index.to(data.train_labels.device)
        pad, flip = data.source.pad, data.source.flip
        flips, offsets = augmentation_draws(config.seed, step, len(index), pad, flip)
        images = prepare_batch(
            data.train_images[index],
            data.mean,
            data.std,
            mean_image=data.mean_image,
            flips=torch.from_numpy(flips),
            offsets=torch.from_numpy(offsets),
            pad=pad,
        )
        return images, data.train_labels[index]


def fill_missing_gradients(network: nn.Module) -> None:
    """Set the gradient of every parameter that backward did not reach to zeros (R23).

    The published code multiplies by 0 at a `none` edge, so that weight decay and momentum act on unreachable
    layers too; an optimizer would skip a gradient of None.
    """
    for parameter in network.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


def make_optimizer(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Make the optimizer of R9."""
    if config.optimizer == "adamw":
        return torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
    return torch.optim.SGD(
        network.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        weight_decay=config.weight_decay,
    )


def learning_rate(config: TrainingConfig, step: int, images: int) -> float:
    """Cosine from `learning_rate` to 0 over `epochs`, by mini-batch; `step` counts from 1 (R9)."""
    total = config.epochs * batches_per_epoch(images, config.batch_size)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(step - 1, total) / total))


def evaluate(
    network: nn.Module,
    data: DeviceData,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    batch_size: int,
) -> tuple[float, float]:
    """Return accuracy (fraction) and mean loss (nats) in eval mode, leaving the network as it was (R4)."""
    was_training = network.training
    network.eval()
    correct = torch.zeros((), dtype=torch.int64, device=data.mean.device)
    loss = torch.zeros((), dtype=torch.float64, device=data.mean.device)
    with torch.no_grad():
        for start in range(0, len(labels), batch_size):
            part = slice(start, start + batch_size)
            target = torch.from_numpy(labels[part]).to(data.mean.device)
            batch = torch.from_numpy(images[part]).to(data.mean.device)
            logits = network(prepare_batch(batch, data.mean, data.std, mean_image=data.mean_image))
            correct += (logits.argmax(1) == target).sum()
            loss += functional.cross_entropy(logits, target, reduction="sum").double()
    network.train(was_training)
    return int(correct) / len(labels), float(loss) / len(labels)


def state(trainer: Trainer) -> dict[str, Any]:
    """Return what must be kept to go on exactly: weights, BatchNorm buffers and the optimizer's state."""
    return {"network": trainer.network.state_dict(), "optimizer": trainer.optimizer.state_dict()}


def restore(trainer: Trainer, kept: dict[str, Any]) -> None:
    """Go back to a state."""
    trainer.network.load_state_dict(kept["network"])
    trainer.optimizer.load_state_dict(kept["optimizer"])
