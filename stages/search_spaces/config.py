"""Settings of the sample of architectures, section `[architectures]` of `experiment.toml`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stages.search_spaces.registry import check_name
from stages.settings import check, setting


@dataclass(frozen=True, kw_only=True)
class ArchitecturesConfig:
    """Which networks are trained, and how wide and deep they are (R22)."""

    SECTION: ClassVar[str] = "architectures"

    space: str = setting("nasbench201", "search space: nasbench201, or package.module:Class of one's own")
    channels: int = setting(16, "channels of the first stage (paper: 16)", ge=1, le=1024)
    cells_per_stage: int = setting(5, "cells in each of the three stages (paper: 5)", ge=1, le=100)
    number: int = setting(1000, "architectures drawn", ge=1, le=10_000_000)
    slice: int = setting(
        0,
        "which disjoint part of the shuffled space: CIFAR-10 0, CIFAR-100 1, ImageNet16-120 2, SVHN 3",
        ge=0,
        le=3,
    )
    sample: str = setting(
        "uniform", "uniform, or accuracies spread as in the paper", choices=("uniform", "paper")
    )
    seed: int = setting(42, "seed of the permutation that is cut into slices", ge=0, le=2**32 - 1)

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
            SpaceError: There is no such space.
        """
        check(self)
        check_name(self.space)
