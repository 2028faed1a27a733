"""Seconds that count what a device was asked to do, and not only the asking."""

from __future__ import annotations

import time

import torch


def clock(device: torch.device) -> float:
    """Return seconds, when everything asked of the device so far is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
