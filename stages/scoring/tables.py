"""Results as Markdown tables whose columns line up, so that they read as well on a terminal (R20, R25, R26)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, TypeVar

import numpy as np

from stages.scoring.metrics import ACCURACY_BIN, Comparison, Floats, Summary

T = TypeVar("T")

MISSING = "–"
_BAR = 40  # characters of the longest bar


def tau_table(
    summaries: Sequence[Summary],
    columns: Mapping[int, str],
    statistic: Literal["kendall", "spearman"] = "kendall",
) -> str:
    """Return a table for each part of the architectures: methods by snapshots, mean ± deviation over trials.

    Args:
        summaries: What `summarise` returned.
        columns: Headings by snapshot, in the order to show; snapshots that the summaries lack are left out (R25).
        statistic: Which correlation.
    """
    cells = {(row.part, row.method, row.snapshot): _plus_minus(row, statistic) for row in summaries}
    shown = [snapshot for snapshot in columns if any(snapshot == row.snapshot for row in summaries)]
    name = {"kendall": "Kendall τ-b", "spearman": "Spearman"}[statistic]
    sections = []
    for part in _distinct(row.part for row in summaries):
        rows = [
            [method, *(cells.get((part, method, snapshot), MISSING) for snapshot in shown)]
            for method in _distinct(row.method for row in summaries if row.part == part)
        ]
        heading = [f"{name}, {part}", *(columns[snapshot] for snapshot in shown)]
        sections.append(_table([heading, *rows], left={0}))
    return "\n".join(sections)


def differences_table(comparisons: Sequence[Comparison], columns: Mapping[int, str]) -> str:
    """Return a table for each part of the architectures: a row for each comparison at each snapshot.

    Args:
        comparisons: What `compare` returned, of one or more pairs.
        columns: Headings by snapshot, in the order to show; other snapshots are left out.
    """
    sections = []
    for part in _distinct(row.part for row in comparisons):
        rows = [
            [one.method, one.reference, columns[snapshot], *_difference(one)]
            for method, reference in _distinct((row.method, row.reference) for row in comparisons)
            for snapshot in columns
            for one in comparisons
            if (one.part, one.method, one.reference, one.snapshot) == (part, method, reference, snapshot)
        ]
        heading = [f"Δτ-b, {part}", "minus", "at", "Δτ", "95 % interval", "t-test p", "verdict"]
        sections.append(_table([heading, *rows], left={0, 1, 6}))
    return "\n".join(sections)


def histogram_table(accuracies: Floats) -> str:
    """Return how many architectures each bin of accuracy has: the sample that every τ is to be read with (R22).

    Args:
        accuracies: (architectures,) fractions.
    """
    edges = np.arange(0, 101, ACCURACY_BIN)
    counts, _ = np.histogram(100 * accuracies, edges)
    rows = [
        [f"{low}-{high}", str(count), "#" * math.ceil(_BAR * count / counts.max())]
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
        if count
    ]
    return _table([["accuracy (%)", "architectures", ""], *rows], left={0, 2})


def plain_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table of a heading and rows, the first column aligned to the left."""
    return _table(rows, left={0})


def _plus_minus(row: Summary, statistic: str) -> str:
    mean, deviation = getattr(row, statistic), getattr(row, f"{statistic}_std")
    if math.isnan(mean):
        return MISSING
    return f"{mean:.3f}" if math.isnan(deviation) else f"{mean:.3f} ± {deviation:.3f}"


def _difference(row: Comparison) -> list[str]:
    if math.isnan(row.difference):
        return [MISSING] * 4
    p_value = MISSING if math.isnan(row.p_value) else f"{row.p_value:.2g}"
    verdict = "beats" if row.beats else "loses" if row.loses else "undecided"
    return [f"{row.difference:+.3f}", f"[{row.low:+.3f}, {row.high:+.3f}]", p_value, verdict]


def _distinct(values: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(values))


def _table(rows: Sequence[Sequence[str]], left: Collection[int]) -> str:
    """Lay out a heading and rows; the columns `left` are aligned to the left, the others to the right."""
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*escaped, strict=True)]
    rule = ["-" * width if i in left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    padded = [
        [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in (escaped[0], rule, *escaped[1:])
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in padded)
