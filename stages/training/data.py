"""The experiment's images on a device, read once in a process."""

from __future__ import annotations

from functools import lru_cache

import torch

from stages.datasets.config import DataConfig
from stages.datasets.errors import DataError
from stages.datasets.load import load
from stages.training.loop import DeviceData
from stages.training.memory import return_large_blocks


@lru_cache(maxsize=1)
def device_data(config: DataConfig, device: torch.device, digest: str) -> DeviceData:
    """Read the data set onto a device.

    Args:
        config: Which data set, and where.
        device: Where the tensors go.
        digest: Content digest that the experiment was made with.

    Raises:
        DataError: A file is not right, or the data set is not the one the experiment was made with.
    """
    if device.type == "cpu":
        return_large_blocks()
    data = load(config)
    if data.digest != digest:
        raise DataError(
            f"the files of {config.name} changed since the experiment was made (digest {data.digest[:12]}, "
            f"was {digest[:12]}); restore them, or make another experiment"
        )
    return DeviceData.of(data, device)
