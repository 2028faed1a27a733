"""Settings of the predictor, section `[bigru]` of `experiment.toml`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stages.settings import check, setting


@dataclass(frozen=True, kw_only=True)
class BigruConfig:
    """How the predictor is trained (SPEC R16; paper C.2.4)."""

    SECTION: ClassVar[str] = "bigru"

    epochs: int = setting(100, "epochs; the last one's weights are kept (paper: 100)", ge=1, le=1_000_000)
    batch_size: int = setting(32, "sequences a batch (paper: 32)", ge=1, le=100_000)
    max_learning_rate: float = setting(3e-3, "peak of OneCycleLR (paper: 0.003)", ge=0)
    dtype: str = setting("float32", "float32, or the paper's float64", choices=("float32", "float64"))
    threads: int = setting(1, "CPU threads a model; sums depend on it", ge=1, le=1024)
    device: str = setting("auto", "auto, cpu, cuda or cuda:N", identity=False)

    def __post_init__(self) -> None:
        """Check every setting."""
        check(self)
