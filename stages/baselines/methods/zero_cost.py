"""Zero-cost methods: stored columns as they are, and the published aggregates of several (R21).

A column's score of an architecture is its own. An aggregate sums or compares ranks among the architectures given, so
that there a score, though seldom the order of two, depends on which others are scored along with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from stages.baselines.method import Floats, Method, Prefix, Scorer, UnmetNeedError, label_free
from stages.baselines.methods.rank_aggregation import AGGREGATES, Aggregate
from stages.zero_cost.columns import COLUMNS

NAMES: Final = {column.method: name for name, column in COLUMNS.items() if column.method}
"""Columns that are a method of their own, by the method's name; the others are parts of aggregates."""


def read_columns(prefix: Prefix, names: Sequence[str]) -> dict[str, Floats]:
    """Return (n,) values by column.

    Raises:
        UnmetNeedError: The store of zero-cost proxies is not there, or has not one of the columns.
    """
    missing = [name for name in names if name not in prefix.zero_cost]
    if missing:
        raise UnmetNeedError(
            f"zero-cost proxies are missing ({', '.join(missing)}): compute them by `run --stage zero-cost`"
        )
    return {name: prefix.zero_cost[name] for name in names}


def _column(name: str) -> Scorer:
    return lambda prefix: read_columns(prefix, [name])[name]


def _aggregate(aggregate: Aggregate) -> Scorer:
    def score(prefix: Prefix) -> Floats:
        found = read_columns(prefix, aggregate.columns)
        # A missing column ranks lowest; an architecture without any has no score rather than a low one.
        known = ~np.isnan(list(found.values())).all(0)
        return np.where(known, aggregate.compute(found), np.nan)

    return score


def _method(name: str, score: Scorer, columns: Sequence[str], source: str) -> Method:
    return Method(
        name=name,
        kind="zero-cost",
        fit=label_free(score),
        source=source,
        needs=frozenset({"zero-cost"}),
        learned=False,
        columns=tuple(columns),
    )


ZERO_COST: Final[tuple[Method, ...]] = (
    *(_method(name, _column(column), [column], COLUMNS[column].source) for name, column in NAMES.items()),
    *(_method(name, _aggregate(each), each.columns, each.source) for name, each in AGGREGATES.items()),
)
"""All of them, single columns first."""
