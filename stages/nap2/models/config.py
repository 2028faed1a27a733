"""Settings of the models, sections `[cae]` and `[bigru]` of `experiment.toml`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stages.settings import check, setting


@dataclass(frozen=True, kw_only=True)
class CaeConfig:
    """How the autoencoders are trained (R14, R15, R24; paper C.1.4)."""

    SECTION: ClassVar[str] = "cae"

    epochs: int = setting(150, "most epochs (paper: 150)", ge=1, le=1_000_000)
    warmup: int = setting(5, "epochs of linear warm-up before the steps (paper: 5)", ge=0, le=1_000_000)
    warmup_start: float = setting(1e-6, "learning rate of the first warm-up epoch (paper: 1e-6)", ge=0)
    learning_rate: float = setting(1e-3, "Adam's learning rate after warm-up (paper: 1e-3)", ge=0)
    step_size: int = setting(20, "epochs between decays of the learning rate (paper: 20)", ge=1, le=1_000_000)
    gamma: float = setting(0.15, "factor of each decay (paper: 0.15)", ge=0, le=1)
    patience: int = setting(
        25, "epochs without a better validation loss before stopping (paper: 25)", ge=1, le=1_000_000
    )
    batch_size: int = setting(
        32, "maps a batch; a last one of a single map joins the one before", ge=2, le=100_000
    )
    dtype: str = setting("float32", "float32, or the paper's float64", choices=("float32", "float64"))
    matmul_precision: str = setting(
        "highest",
        "of products of float32: medium rounds their factors to bfloat16 where the device is faster with it, "
        "high to TensorFloat-32",
        choices=("highest", "high", "medium"),
    )
    threads: int = setting(1, "CPU threads a model; sums depend on it", ge=1, le=1024)
    device: str = setting("auto", "auto, cpu, cuda or cuda:N", identity=False)
    scratch_megabytes: int = setting(
        8000,
        "room for decoded maps in TMPDIR, a model; 0: decode them every epoch",
        ge=0,
        le=10**9,
        identity=False,
    )

    def __post_init__(self) -> None:
        """Check every setting."""
        check(self)


@dataclass(frozen=True, kw_only=True)
class BigruConfig:
    """How the predictor is trained (R16; paper C.2.4)."""

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
