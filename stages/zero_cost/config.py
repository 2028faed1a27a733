"""Settings of the zero-cost proxies, section `[zero_cost]` of `experiment.toml`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stages.settings import check, setting


@dataclass(frozen=True, kw_only=True)
class ZeroCostConfig:
    """What the proxies look at; the network and its weights are those that training begins with (R10)."""

    SECTION: ClassVar[str] = "zero_cost"

    batch_size: int = setting(64, "images of the one batch (64 in all the proxies' sources)", ge=2)
    split: str = setting(
        "train", "images that the batch is drawn from, without augmentation", choices=("train", "validation")
    )
    seed: int = setting(
        4, "seed of the batch, of noise, and of weights where a proxy prescribes them", ge=0, le=2**32 - 1
    )
    threads: int = setting(1, "CPU threads a network; sums depend on it", ge=1)
    device: str = setting("auto", "auto, cpu, cuda or cuda:N", identity=False)

    def __post_init__(self) -> None:
        """Check every setting."""
        check(self)
