"""Making a training run repeatable to the bit: every flag of the paper's E.2.1 (R10)."""

from __future__ import annotations

import os
import platform
import socket
from importlib.metadata import version
from typing import Any

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":16:8")  # must be set before CUDA starts

import torch

from stages.training.config import NUMERICS_VERSION


def make_deterministic(threads: int, matmul_precision: str = "highest") -> None:
    """Set PyTorch's determinism flags, the number of threads and the precision of products for this process."""
    torch.use_deterministic_algorithms(True)
    # Nothing reads uninitialized memory, so filling it first changes no bit; it cost a sixth of a mini-batch.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision(matmul_precision)
    torch.set_num_threads(threads)


def choose_device(name: str) -> torch.device:
    """Return the device that a setting names; `auto` is CUDA where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def fingerprint(device: torch.device) -> dict[str, str]:
    """Return what bits depend on besides the settings: device model and library versions."""
    model = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device": model,
        "torch": version("torch"),
        "numpy": version("numpy"),
        "python": platform.python_version(),
    }


def provenance(fingerprint: dict[str, str], resumed_on: list[dict[str, str]]) -> dict[str, Any]:
    """Return what is recorded of where and with what an index was computed.

    Args:
        fingerprint: Of the execution that finished.
        resumed_on: Fingerprints, where they differ, of the executions before it.
    """
    return {
        **fingerprint,
        "code": version("nap2-pipeline"),
        "zarr": version("zarr"),
        "numerics": NUMERICS_VERSION,
        "host": socket.gethostname(),
        "resumed_on": resumed_on,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()
