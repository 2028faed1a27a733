"""All proxies of one network: a failure or a value that is not finite costs that number alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Final

import torch

from stages.training.clock import clock
from stages.zero_cost.batch import as_noise
from stages.zero_cost.proxy import Batch, Proxy, Subject
from stages.zero_cost.registry import PROXIES
from stages.zero_cost.scratch import kaiming_normal

OF_THE_MACHINE: Final = (ImportError, MemoryError, OSError)
"""Errors that say nothing of the network."""
TEXTS_OF_THE_MACHINE: Final = (
    "out of memory",
    "DefaultCPUAllocator",
    "CUDA error",
    "cuDNN error",
    "CUBLAS_STATUS",
)
"""In the text of others: PyTorch raises them as RuntimeError, or a kind of it."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Numbers of one network, by column.

    Attributes:
        values: Finite numbers, or None where there is none.
        seconds: Of the pass that gave the column; columns of one pass show the same.
        notes: Why there is no number.
    """

    values: dict[str, float | None] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


def measure(
    subject: Subject, batch: Batch, before_each: Callable[[], None], proxies: Mapping[str, Proxy] = PROXIES
) -> Measured:
    """Compute every proxy of a network, which stays as it is.

    Args:
        subject: With the weights that training begins with.
        batch: Images on the network's device.
        before_each: Called before each proxy; may raise.
        proxies: What to compute.
    """

    @cache
    def prepared(weights: str) -> Subject:
        if weights == "collected":
            return subject
        return replace(subject, network=kaiming_normal(subject.network, batch.seed))

    batches, measured = {"data": batch, "noise": as_noise(batch)}, Measured()
    for proxy in proxies.values():
        before_each()
        started = clock(batch.images.device)
        found, failure = _attempt(proxy, prepared, batches[proxy.images])
        spent = round(clock(batch.images.device) - started, 4)
        for column in (each.name for each in proxy.columns):
            value, measured.seconds[column] = found.get(column, math.nan), spent
            measured.values[column] = value if math.isfinite(value) else None
            if not math.isfinite(value):
                measured.notes[column] = failure or f"{value}"
    return measured


def _attempt(
    proxy: Proxy, prepared: Callable[[str], Subject], batch: Batch
) -> tuple[Mapping[str, float], str]:
    """Return the values, or none of them and the error's text; what the machine lacks is an error of the index.

    What a network itself draws, as Dropout does, follows from the batch's seed; what it does to its images in place
    no other proxy sees.
    """
    device = batch.images.device
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(batch.seed)
            own = replace(batch, images=batch.images.clone())
            return proxy.compute(prepared(proxy.weights), own), ""
    except OF_THE_MACHINE:
        raise
    except Exception as error:  # a network of any space may be what a proxy cannot look at
        if any(sign in str(error) for sign in TEXTS_OF_THE_MACHINE):
            raise
        return {}, f"{type(error).__name__}: {error}"
