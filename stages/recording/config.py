"""Settings of the recorder, section `[recording]` of `experiment.toml`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stages.settings import ConfigError, check, setting

MOST_MINI_BATCHES = 10_000_000
"""Every one has a place in the store's curves."""


@dataclass(frozen=True, kw_only=True)
class RecordingConfig:
    """When snapshots are taken (R3)."""

    SECTION: ClassVar[str] = "recording"

    interval: int = setting(100, "mini-batches between snapshots (paper: 100)", ge=1, le=1_000_000)
    snapshots: int = setting(23, "snapshots, besides the initial one (paper: 23)", ge=1, le=1000)

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
            ConfigError: One is not allowed, or both together are too much.
        """
        check(self)
        if self.mini_batches > MOST_MINI_BATCHES:
            raise ConfigError(
                f"recording.interval times recording.snapshots is {self.mini_batches}; "
                f"at most {MOST_MINI_BATCHES} mini-batches can be recorded"
            )

    @property
    def mini_batches(self) -> int:
        """Mini-batches that collection runs."""
        return self.interval * self.snapshots

    @property
    def steps(self) -> tuple[int, ...]:
        """Mini-batch of each snapshot; the initial one is taken at mini-batch 1."""
        return (1, *(self.interval * k for k in range(1, self.snapshots + 1)))
