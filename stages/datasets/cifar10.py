"""CIFAR-10 in the official binary version (paper, Tables 16 and 17; R12)."""

from __future__ import annotations

from functools import partial
from typing import Final

from stages.datasets import cifar
from stages.datasets.dataset import DataSet, sha256

# Computed from the complete official set: the authors publish a digest of the archive alone.
CHECKSUMS: Final = sha256(
    {
        "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
    },
    size=30_730_000,
)

CIFAR10: Final = DataSet(
    name="cifar10",
    size=cifar.SIDE,
    classes=10,
    training_images=50_000,
    read=partial(cifar.read, label_bytes=1),
    folder="cifar-10-batches-bin",
    files=tuple(CHECKSUMS),
    checksums=CHECKSUMS,
    moments=((0.4914, 0.4822, 0.4465), (0.2470, 0.2430, 0.2610)),
)
