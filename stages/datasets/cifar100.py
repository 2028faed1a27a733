"""CIFAR-100 in the official binary version, with its fine labels (paper, Tables 16 and 17; R12)."""

from __future__ import annotations

from functools import partial
from typing import Final

from stages.datasets import cifar
from stages.datasets.dataset import DataSet

CIFAR100: Final = DataSet(
    name="cifar100",
    size=cifar.SIDE,
    classes=100,
    training_images=50_000,
    read=partial(cifar.read, label_bytes=2),
    folder="cifar-100-binary",
    files=("train.bin", "test.bin"),
    moments=((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
)
