"""Settings of the training of one network, section `[training]` of `experiment.toml`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stages.settings import ConfigError, check, setting

NUMERICS_VERSION = 1
"""Raised whenever a change of code changes bits; part of the experiment's identity (R10)."""


def check_numerics(version: int) -> None:
    """Refuse to train networks beside those of another numerics version.

    Raises:
        ConfigError: `version` is not that of this code.
    """
    if version != NUMERICS_VERSION:
        raise ConfigError(
            f"the experiment has numerics version {version} and this code {NUMERICS_VERSION}: networks trained now "
            "would differ in their bits from those that are there; add them with the version of nap2-pipeline that "
            "made the experiment, or make another experiment"
        )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How every network is trained (R9, R10)."""

    SECTION: ClassVar[str] = "training"

    optimizer: str = setting("sgd", "sgd (Nesterov) or adamw", choices=("sgd", "adamw"))
    learning_rate: float = setting(0.1, "learning rate before the cosine decay (paper: 0.1)", ge=0)
    momentum: float = setting(0.9, "Nesterov momentum of sgd; adamw ignores it", ge=0, le=1)
    weight_decay: float = setting(5e-4, "weight decay (paper: 5e-4)", ge=0)
    epochs: int = setting(
        200, "length of the cosine to 0; never how many mini-batches are run", ge=1, le=100_000
    )
    batch_size: int = setting(
        256, "images a mini-batch; an epoch's last partial one is kept", ge=1, le=100_000
    )
    seed: int = setting(4, "seed of initial weights, data order and augmentation", ge=0, le=2**32 - 1)
    threads: int = setting(1, "CPU threads a network; sums depend on it", ge=1, le=1024)
    device: str = setting("auto", "auto, cpu, cuda or cuda:N", identity=False)

    def __post_init__(self) -> None:
        """Check every setting."""
        check(self)
