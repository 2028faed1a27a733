"""Zero-cost scores that need a whole set of architectures: ranks of stored columns, combined.

Pure functions of the columns in `stages.zero_cost.columns`. Ranks are among the set given, ties share their average;
NaN, where a proxy has no value, ranks below everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Columns = Mapping[str, Floats]


def ranks(values: Floats) -> Floats:
    """Return (n,) ranks from 1, higher is better."""
    from scipy.stats import rankdata  # here, so that listing methods does not wait for it

    return np.asarray(rankdata(np.where(np.isnan(values), -np.inf, values)), dtype=np.float64)


def log_rank_sum(columns: Sequence[Floats]) -> Floats:
    """Return (n,) Σ log(rank / n) over columns of n architectures (Lee & Ham 2024): at most 0."""
    return np.asarray(sum(np.log(ranks(values) / len(values)) for values in columns), dtype=np.float64)


def majority_vote(columns: Sequence[Floats]) -> Floats:
    """Return (n,) how many architectures each beats in most columns, less those that beat it.

    Jing et al. (2025) sort by such comparisons. They can go in circles, where the outcome of a sort depends on
    the order at its start; counting all pairs does not.
    """
    ordered = np.stack([ranks(values) for values in columns])
    half = len(columns) / 2
    won = [((row[:, None] > ordered).sum(0) > half).sum() for row in ordered.T]
    lost = [((row[:, None] < ordered).sum(0) > half).sum() for row in ordered.T]
    return np.asarray(won, dtype=np.float64) - np.asarray(lost, dtype=np.float64)


def az_nas(columns: Columns) -> Floats:
    """Return (n,) AZ-NAS scores (Lee & Ham 2024)."""
    return log_rank_sum([columns[name] for name in AZ_NAS])


def vkdnw(columns: Columns) -> Floats:
    """Return (n,) ranks by number of parameter tensors, then by entropy (Týbl & Neumann 2025, eq. 12)."""
    tensors, entropy = (ranks(columns[name]) for name in VKDNW)
    return ranks(tensors * (len(tensors) + 1) + entropy)


def vkdnw_aggregate(columns: Columns) -> Floats:
    """Return (n,) Σ log(rank / n) of VKDNW and four other columns (Týbl & Neumann 2025, eq. 15)."""
    return log_rank_sum([vkdnw(columns), *(columns[name] for name in BESIDE_VKDNW)])


def spw(columns: Columns) -> Floats:
    """Return (n,) majority votes of SynFlow, PNorm and WRCor (Jing et al. 2025)."""
    return majority_vote([columns[name] for name in SPW])


AZ_NAS: Final = ("expressivity", "progressivity", "trainability", "complexity")
VKDNW: Final = ("vkdnw_tensors", "vkdnw_entropy")
BESIDE_VKDNW: Final = ("jacov", "expressivity", "trainability", "complexity")
SPW: Final = ("synflow", "pnorm", "wrcor")


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """One published way to combine columns.

    Attributes:
        compute: Takes n architectures' values by column, returns (n,) scores.
        columns: That it reads.
        source: Authors and year.
    """

    compute: Callable[[Columns], Floats]
    columns: tuple[str, ...]
    source: str


AGGREGATES: Final[dict[str, Aggregate]] = {
    "AZ-NAS": Aggregate(compute=az_nas, columns=AZ_NAS, source="Lee and Ham 2024"),
    "VKDNW": Aggregate(compute=vkdnw, columns=VKDNW, source="Tybl and Neumann 2025, eq. 12"),
    "VKDNW aggregate": Aggregate(
        compute=vkdnw_aggregate, columns=(*VKDNW, *BESIDE_VKDNW), source="Tybl and Neumann 2025, eq. 15"
    ),
    "SPW": Aggregate(compute=spw, columns=SPW, source="Jing et al. 2025"),
}
"""By the name in tables."""
