"""Omni-SemiNAS: SemiNAS told what a proxy and the first mini-batches say of each network (White et al. 2021).

Behind the cell's tokens come two numbers in bins, one token for each bin that tells whether the number is in it: the
Jacobian covariance and the sum of recent losses. The edges of bins are quantiles of the training architectures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from stages.baselines.method import Floats, Method, Prefix, Scorer
from stages.baselines.methods.rank_aggregation import ranks
from stages.baselines.methods.sequences import Tokens, code_of, sequences_of
from stages.baselines.methods.sotl import sum_of_last_epoch
from stages.baselines.methods.zero_cost import read_columns

if TYPE_CHECKING:
    from stages.baselines.methods.seminas_network import Rounds

PROXY: Final = "jacov"
PROXY_BINS: Final = ((10, 2), (20, 3), (40, 4), (80, 6))
"""Bins of the proxy for up to so many training architectures; `MOST_PROXY_BINS` for more."""

MOST_PROXY_BINS: Final = 10
MOST_LOSS_BINS: Final = 9
IN_A_BIN: Final = 5
"""Training architectures in a bin of losses, at least."""


@dataclass(frozen=True)
class Bins:
    """Numbers as tokens.

    Attributes:
        edges: (bins − 1,) ascending; a bin begins at its lower edge.
        first: Token of "not in this bin"; the next one is "in this bin".
    """

    edges: Floats
    first: int

    @classmethod
    def of(cls, values: Floats, number: int, first: int) -> Bins:
        """Cut at the quantiles of training values; those without a value do not count."""
        known = values[np.isfinite(values)]
        shares = np.arange(1, number) / number
        return cls(np.quantile(known, shares) if len(known) else np.zeros(len(shares)), first)

    def tokens(self, values: Floats) -> Tokens:
        """Return (n, bins) tokens; what has no value (NaN) is in the lowest, worst bin."""
        bins = np.searchsorted(self.edges, np.where(np.isnan(values), -np.inf, values), side="right")
        tokens: Tokens = self.first + (bins[:, None] == np.arange(len(self.edges) + 1)).astype(np.int64)
        return tokens


def proxy(prefix: Prefix) -> Floats:
    """Return (n,) Jacobian covariances.

    Raises:
        UnmetNeedError: The column is missing.
    """
    return read_columns(prefix, [PROXY])[PROXY]


def fit(train: Prefix, labels: Floats, seed: int, *, rounds: Rounds | None = None) -> Scorer:
    """Fit to cells and measurements of training architectures.

    A synthetic architecture has neither proxy nor losses, as no network of it exists. So there is no second round, as
    in the published code when it reads losses. Labels are their ranks, as in SemiNAS.

    Args:
        train: n architectures.
        labels: (n,) fractions.
        seed: Of weights, order and dropout.
        rounds: How long, the published epochs if not given.

    Raises:
        UnmetNeedError: No zero-cost column, no mini-batch trained, or a space without cells.
    """
    values, losses, n = proxy(train), sum_of_last_epoch(train), len(labels)
    proxy_bins = next((bins for most, bins in PROXY_BINS if n <= most), MOST_PROXY_BINS)
    of_proxy = Bins.of(values, proxy_bins, code_of(train).vocabulary)
    of_loss = Bins.of(losses, min(MOST_LOSS_BINS, max(2, n // IN_A_BIN)), of_proxy.first + 2)

    def sequences(prefix: Prefix) -> Tokens:
        parts = of_proxy.tokens(proxy(prefix)), of_loss.tokens(sum_of_last_epoch(prefix))
        return np.hstack((sequences_of(prefix), *parts))

    from stages.baselines.methods import (
        seminas_network,  # here, so that listing methods does not wait for torch
    )

    known = sequences(train)
    fitted = seminas_network.fit(
        known, ranks(labels), known[:0], of_loss.first + 2, seed, rounds or seminas_network.Rounds(second=0)
    )
    return lambda tested: fitted.predict(sequences(tested))


OMNI_SEMINAS: Final = Method(
    name="Omni-SemiNAS",
    kind="hybrid",
    fit=fit,
    source="White et al. 2021",
    needs=frozenset({"training loss", "zero-cost"}),
    columns=(PROXY,),
)
