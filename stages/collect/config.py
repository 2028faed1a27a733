"""Settings of the recorder, section `[recording]` of `experiment.toml`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stages.settings import check, setting


@dataclass(frozen=True, kw_only=True)
class RecordingConfig:
    """When snapshots are taken (SPEC R3)."""

    SECTION: ClassVar[str] = "recording"

    interval: int = setting(100, "mini-batches between snapshots (paper: 100)", ge=1)
    snapshots: int = setting(23, "snapshots, besides the initial one (paper: 23)", ge=1)

    def __post_init__(self) -> None:
        """Check every setting."""
        check(self)

    @property
    def mini_batches(self) -> int:
        """Mini-batches that collection runs."""
        return self.interval * self.snapshots

    @property
    def steps(self) -> tuple[int, ...]:
        """Mini-batch of each snapshot; the initial one is taken at mini-batch 1."""
        return (1, *(self.interval * k for k in range(1, self.snapshots + 1)))
