"""Settings of the image data set, section `[data]` of `experiment.toml`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stages.datasets.dataset import DataSet
from stages.datasets.registry import DATASETS, find_dataset
from stages.settings import ConfigError, check, setting


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images the networks train on, and which of them validate (R11, R12).

    `validation_images` takes the first n of a fixed pool: half of the test images (CIFAR, Fashion-MNIST),
    SVHN's 21,977 held-out training images, ImageNet16-120's validation set. What lies in no files, as `digits`,
    ignores it: a whole stratified fifth validates.
    """

    SECTION: ClassVar[str] = "data"

    name: str = setting("digits", "data set the networks are trained on", choices=tuple(DATASETS))
    root: str = setting(
        "", "folder of the official files; empty: the variable NAP2_DATA_ROOT", identity=False, path=True
    )
    image_size: int = setting(
        0, "side in pixels after average pooling, a divisor of the native side; 0: native", ge=0
    )
    validation_images: int = setting(
        5000,
        "validation images, from the fixed pool (without files, as digits: always a fifth)",
        ge=1,
        le=1_000_000,
    )
    split_seed: int = setting(42, "seed of the split into validation and test images", ge=0, le=2**32 - 1)

    def __post_init__(self) -> None:
        """Check every setting, and that the images can be pooled to the size asked for."""
        check(self)
        native = self.dataset.size
        if self.image_size and native % self.image_size:
            sizes = ", ".join(str(size) for size in range(native, 0, -1) if native % size == 0)
            raise ConfigError(
                f"data.image_size = {self.image_size} does not divide {native}, "
                f"the side of {self.name}'s images; use 0 or one of {sizes}"
            )

    @property
    def dataset(self) -> DataSet:
        """What is known of the data set."""
        return find_dataset(self.name)

    @property
    def size(self) -> int:
        """Side of the images that training sees, in pixels."""
        return self.image_size or self.dataset.size
