"""The data sets by name; a further one is a file and a line here."""

from __future__ import annotations

from typing import Final

from stages.datasets.dataset import DataSet
from stages.loading import load_object

DATASETS: Final[dict[str, str]] = {
    "cifar10": "stages.datasets.cifar10:CIFAR10",
    "cifar100": "stages.datasets.cifar100:CIFAR100",
    "svhn": "stages.datasets.svhn:SVHN",
    "imagenet16_120": "stages.datasets.imagenet16:IMAGENET16_120",
    "fashion_mnist": "stages.datasets.fashion_mnist:FASHION_MNIST",
    "digits": "stages.datasets.digits:DIGITS",
}
"""Where each object is; it is imported when it is used."""


def find_dataset(name: str) -> DataSet:
    """Return the data set of a name in `DATASETS`."""
    dataset: DataSet = load_object(DATASETS[name])
    return dataset


def datasets_in_files() -> dict[str, DataSet]:
    """Return those that lie in files, by name."""
    return {name: dataset for name in DATASETS if (dataset := find_dataset(name)).files}
