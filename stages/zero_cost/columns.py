"""The table of what is stored: every number, what it is, where it comes from and what decides it. No torch here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from stages.settings import identity_settings
from stages.zero_cost.config import ZeroCostConfig


@dataclass(frozen=True, kw_only=True)
class Column:
    """One number of each network.

    Attributes:
        proxy: Name in `stages.zero_cost.registry.PROXIES` of what computes it; `cell` is closed form.
        source: Paper, by authors and year.
        description: What it is; higher is better in every column.
        units: As in the store's other variables.
    """

    proxy: str
    source: str
    description: str
    units: str = "1"


CELL: Final = "cell"
VERSION: Final = 2
"""Raised when a column's numbers change, so that those of before are computed again."""

COLUMNS: Final[dict[str, Column]] = {
    "synflow": Column(
        proxy="synflow",
        source="Tanaka et al. 2020, Abdelfattah et al. 2021",
        description="log of the sum of |w dR/dw| of a linear network with weights |w| and an input of ones",
    ),
    "grad_norm": Column(
        proxy="gradients",
        source="Abdelfattah et al. 2021",
        description="sum over layers of the l2 norm of the loss's gradient",
    ),
    "snip": Column(
        proxy="gradients",
        source="Lee et al. 2019, Abdelfattah et al. 2021",
        description="sum of |w dL/dw| over all weights",
    ),
    "naswot": Column(
        proxy="naswot",
        source="Mellor et al. 2021",
        description="log-determinant of the kernel of agreeing ReLUs between images",
    ),
    "jacov": Column(
        proxy="jacov",
        source="Mellor et al. 2020, Abdelfattah et al. 2021",
        description="-sum(log(v + 1e-5) + 1/(v + 1e-5)), v: eigenvalues of the correlations of input gradients",
    ),
    "pnorm": Column(
        proxy="pnorm",
        source="Jing et al. 2025",
        description="sum over layers of the l2 norm of the weights",
    ),
    "wrcor": Column(
        proxy="wrcor",
        source="Jing et al. 2025",
        description="log-determinant of the |correlations| between images at each ReLU, values and gradients, "
        "a block's weight twice the one before",
    ),
    "expressivity": Column(
        proxy="az_nas",
        source="Lee and Ham 2024",
        description="sum over blocks of the entropy of the channels' principal components",
        units="nat",
    ),
    "progressivity": Column(
        proxy="az_nas",
        source="Lee and Ham 2024",
        description="smallest growth of that entropy from one block to the next",
        units="nat",
    ),
    "trainability": Column(
        proxy="az_nas",
        source="Lee and Ham 2024",
        description="mean over blocks of 2 - s - 1/s, s: spectral norm of how gradients pass the block",
    ),
    "complexity": Column(
        proxy=CELL,
        source="Lee and Ham 2024",
        description="operations of one image's forward pass, by NAS-Bench-201's convention",
        units="FLOPs",
    ),
    "vkdnw_entropy": Column(
        proxy="vkdnw",
        source="Tybl and Neumann 2025",
        description="entropy of the normalized deciles of the empirical Fisher matrix's eigenvalues",
        units="nat",
    ),
    "vkdnw_tensors": Column(
        proxy="vkdnw",
        source="Tybl and Neumann 2025",
        description="number of parameter tensors, which orders networks before the entropy does",
    ),
}


def column_settings(config: ZeroCostConfig) -> dict[str, Any]:
    """Return what the proxies look at, and which numbers there are."""
    return {**identity_settings(config), "columns": list(COLUMNS), "version": VERSION}


def store_settings(config: ZeroCostConfig, identity: str) -> str:
    """Return what decides the numbers in the store, as the store itself says it in its attributes.

    Args:
        config: Of the proxies.
        identity: Of the experiment.
    """
    return json.dumps({"experiment": identity, **column_settings(config)}, sort_keys=True)
