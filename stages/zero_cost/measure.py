"""All proxies of one network: a failure or a value that is not finite costs that number alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import torch

from stages.search_spaces.nasbench201.network import Network
from stages.zero_cost.batch import Batch, as_noise
from stages.zero_cost.columns import COLUMNS
from stages.zero_cost.registry import PROXIES, Proxy
from stages.zero_cost.scratch import kaiming_normal

OF_THE_MACHINE: Final = ("out of memory", "DefaultCPUAllocator", "CUDA error", "cuDNN error", "CUBLAS_STATUS")
"""In the text of errors that say nothing of the network: PyTorch raises them as RuntimeError, or a kind of it."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Numbers of one network, by column.

    Attributes:
        values: Finite numbers, or None where there is none.
        seconds: Of the pass that gave the column; columns of one pass show the same.
        notes: Why there is no number.
        total_seconds: Of all passes.
    """

    values: dict[str, float | None] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    total_seconds: float = 0.0


def measure(
    network: Network, batch: Batch, before_each: Callable[[], None], proxies: Mapping[str, Proxy] = PROXIES
) -> Measured:
    """Compute every proxy of a network, which stays as it is.

    Args:
        network: With the weights that training begins with.
        batch: Images on the network's device.
        before_each: Called before each proxy; may raise.
        proxies: What to compute.
    """
    networks = {"collected": network, "kaiming_normal": kaiming_normal(network, batch.seed)}
    batches = {"data": batch, "noise": as_noise(batch)}
    values: dict[str, float | None] = {}
    seconds, notes, begun = dict[str, float](), dict[str, str](), _clock(batch)
    for name, proxy in proxies.items():
        before_each()
        started = _clock(batch)
        found, failure = _attempt(proxy, networks[proxy.weights], batches[proxy.images])
        spent = round(_clock(batch) - started, 4)
        for column in (each for each, facts in COLUMNS.items() if facts.proxy == name):
            value, seconds[column] = found.get(column, math.nan), spent
            values[column] = value if math.isfinite(value) else None
            if not math.isfinite(value):
                notes[column] = failure or f"{value}"
    total = round(_clock(batch) - begun, 4)
    return Measured(values=values, seconds=seconds, notes=notes, total_seconds=total)


def _attempt(proxy: Proxy, network: Network, batch: Batch) -> tuple[Mapping[str, float], str]:
    """Return the values, or none of them and the error's text; what the machine lacks is an error of the index."""
    try:
        return proxy.compute(network, batch), ""
    except (ArithmeticError, RuntimeError, ValueError) as error:
        if any(sign in str(error) for sign in OF_THE_MACHINE):
            raise
        return {}, f"{type(error).__name__}: {error}"


def _clock(batch: Batch) -> float:
    """Seconds, when everything asked of the device so far is done."""
    if batch.images.device.type == "cuda":
        torch.cuda.synchronize(batch.images.device)
    return time.perf_counter()
