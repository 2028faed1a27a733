"""Settings of the evaluation, section `[evaluation]` of `experiment.toml`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stages.settings import ConfigError, check, setting


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is compared, and how intervals are drawn (R18, R20)."""

    SECTION: ClassVar[str] = "evaluation"

    sources: str = setting(
        "",
        "experiments whose frozen models are tried here too, separated by commas",
        identity=False,
        path=True,
    )
    in_domain: bool = setting(True, "score the experiment's own models too", identity=False)
    resamples: int = setting(2000, "bootstrap resamples of the architectures", ge=100, le=100_000)
    seed: int = setting(42, "seed of the resamples", ge=0, le=2**32 - 1)

    def __post_init__(self) -> None:
        """Check every setting."""
        check(self)
        if not self.in_domain and not self.source_paths:
            raise ConfigError("evaluation.in_domain = False leaves nothing to score; set evaluation.sources")

    @property
    def source_paths(self) -> tuple[Path, ...]:
        """Directories of the sources."""
        return tuple(Path(text.strip()) for text in self.sources.split(",") if text.strip())
