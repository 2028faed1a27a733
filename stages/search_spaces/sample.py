"""Drawing architectures: one seeded permutation of the space, cut into disjoint slices (R22)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from stages.search_spaces.config import ArchitecturesConfig
from stages.search_spaces.registry import open_space
from stages.settings import ConfigError

SLICE = 1000
SLICES = 4
_TABLE_7 = ((0.0, 0.85, 0.40), (0.85, 0.92, 0.415), (0.92, 0.95, 0.185))
_EVEN = tuple((low / 100, (low + 5) / 100, 1 / 9) for low in range(50, 95, 5))
PAPER_SHARES = {"cifar10": _TABLE_7}
"""Accuracy shares (from, to, share): Table 7 for CIFAR-10, equal shares of D.4.2's bins elsewhere."""


def draw(config: ArchitecturesConfig, labels: Mapping[str, float] | None, data: str) -> list[str]:
    """Return the architecture strings of an experiment, in the order of its plan.

    Args:
        config: Number, slice, seed and kind of sample.
        labels: Accuracy by architecture string where a table is given; what it lacks is not drawn.
        data: Name of the data set, for the paper's shares.

    Raises:
        ConfigError: The slice does not hold so many, or the paper's spread is asked for without labels.
    """
    space, rng = (
        open_space(config.space, config.channels, config.cells_per_stage),
        np.random.default_rng(config.seed),
    )
    if config.sample == "paper":
        everything = space.draw(len(labels or ()), rng, labels)
        return _as_in_paper(everything[config.slice :: SLICES], config, labels, data)
    first = config.slice * SLICE
    known = space.draw(first + config.number, rng, labels)
    drawn = known[first:]
    if len(drawn) < config.number or (config.slice and config.number > SLICE):
        most = max(0, min(SLICE, len(drawn)) if config.slice else len(drawn))
        raise ConfigError(
            f"architectures.number = {config.number} is more than slice {config.slice} holds; use at most {most}"
        )
    return drawn


def _as_in_paper(
    pool: list[str], config: ArchitecturesConfig, labels: Mapping[str, float] | None, data: str
) -> list[str]:
    if labels is None:
        raise ConfigError(
            'architectures.sample = "paper" needs labels beforehand; set labels.source = "table"'
        )
    drawn: list[str] = []
    for low, high, share in PAPER_SHARES.get(data, _EVEN):
        wanted = round(share * config.number)
        bin_ = [name for name in pool if low <= labels[name] < high][:wanted]
        drawn += bin_
    rest = [name for name in pool if name not in set(drawn)]  # a bin too small is filled up from the others
    chosen = set((drawn + rest)[: config.number])
    if len(chosen) < config.number:
        raise ConfigError(f"architectures.number = {config.number} is more than the pool's {len(pool)}")
    return [name for name in pool if name in chosen]
