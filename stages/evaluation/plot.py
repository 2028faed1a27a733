"""τ over query budget, beside the accuracies of the sample that it was measured on (R22)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression

from stages.scoring.metrics import ACCURACY_BIN, Floats, Summary
from stages.settings import ConfigError
from storage_schema import durable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = ("png", "svg", "pdf")

# Okabe and Ito's, which the colour-blind tell apart, without yellow and black; then a brown and a violet.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7A4B2A", "#6A3D9A")
_MARKERS = ("o", "s", "^", "D")
_DASHES = ((0, (6, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)), (0, (1, 1)))
_GREY = "#555555"
_LABEL_GAP = 0.052  # of the panel's height, between the middles of two labels


class Curve(NamedTuple):
    """One method: τ and the ends of its interval, each (snapshots,), or (1,) where the budget plays no role."""

    mean: Floats
    low: Floats
    high: Floats

    @property
    def constant(self) -> bool:
        """Whether nothing changes over snapshots: a reference that needs no training."""
        return all(len(values) == 1 or np.ptp(values) == 0 for values in self)


class _End(NamedTuple):
    """Where a line ends, and what is written there; y is NaN if there is no line."""

    text: str
    x: float
    y: float
    colour: str


def curves(summaries: Iterable[Summary], part: str) -> dict[str, Curve]:
    """Return every method's curve over all snapshots on one part of the architectures."""
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for row in summaries:
        if row.part == part:
            rows.setdefault(row.method, []).append((row.kendall, row.kendall_low, row.kendall_high))
    return {method: Curve(*np.array(values).T) for method, values in rows.items()}


def plot_tau(
    path: Path, steps: Sequence[int], curves: Mapping[str, Curve], title: str, accuracies: Floats
) -> None:
    """Draw a line and its 95 % interval for every method, dashed where it is constant, and the sample's histogram.

    Args:
        path: PNG, SVG or PDF by its suffix; written whole or not at all.
        steps: (snapshots,) budget in mini-batches.
        curves: By method; a curve that is NaN everywhere is only named.
        title: One line above both panels.
        accuracies: (architectures,) labels of the sample, fractions.

    Raises:
        ConfigError: The suffix is none of these.
        ValueError: A curve has neither one value nor one for each step.
    """
    from matplotlib.figure import Figure

    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise ConfigError(f"{path}: unknown format {kind!r}; use one of {', '.join(FORMATS)}")
    figure = Figure(figsize=(11, 5), layout="constrained")
    panel, histogram = figure.subplots(1, 2, width_ratios=(3.4, 1))
    ends = _draw_curves(panel, np.asarray(steps, dtype=np.float64), curves)
    panel.set(xlabel="query budget (mini-batches)", ylabel="Kendall τ-b")
    _limit(panel, steps)
    if ends:
        _name_ends(panel, ends)
    _draw_histogram(histogram, accuracies)
    for axes in (panel, histogram):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11)
    durable.write(path, lambda file: figure.savefig(file, format=kind, dpi=150))


def _draw_curves(panel: Axes, steps: Floats, curves: Mapping[str, Curve]) -> list[_End]:
    """Draw every method and return the ends of the lines."""
    ends, lines, dashed = [], 0, 0
    for method, curve in curves.items():
        if len(curve.mean) not in (1, len(steps)):
            raise ValueError(f"{method}: {len(curve.mean)} values for {len(steps)} steps")
        known = np.flatnonzero(np.isfinite(curve.mean))
        if not len(known):
            ends.append(_End(f"{method}: undefined", steps[-1], np.nan, _GREY))
        elif curve.constant:
            mean, low, high = (values[0] for values in curve)
            panel.axhline(mean, color=_GREY, linestyle=_DASHES[dashed % len(_DASHES)], linewidth=1.1)
            ends.append(_End(f"{method} {mean:.2f} [{low:.2f}, {high:.2f}]", steps[-1], mean, _GREY))
            dashed += 1
        else:
            colour = _COLOURS[lines % len(_COLOURS)]
            marker = _MARKERS[lines // len(_COLOURS) % len(_MARKERS)]
            panel.fill_between(steps, curve.low, curve.high, color=colour, alpha=0.13, linewidth=0)
            panel.plot(steps, curve.mean, color=colour, marker=marker, markersize=3.5, linewidth=1.6)
            x, y = steps[known[-1]], curve.mean[known[-1]]
            ends.append(_End(f"{method} {y:.2f}", x, y, colour))
            lines += 1
    return ends


def _limit(panel: Axes, steps: Sequence[int]) -> None:
    """Leave no empty margin at the right, where the names stand, and nothing above 1."""
    low, high = panel.get_ylim()
    panel.set_ylim(max(low, -1.02), min(high, 1.02))
    panel.set_xlim(-0.01 * max(steps), 1.01 * max(steps))
    panel.grid(axis="y", color="#E5E5E5", linewidth=0.6)
    panel.set_axisbelow(True)


def _name_ends(panel: Axes, ends: Sequence[_End]) -> None:
    """Write every method's name right of the panel, at the height of its line's end or as near as others allow."""
    low, high = panel.get_ylim()
    at = {end: (end.y - low) / (high - low) if np.isfinite(end.y) else 0.0 for end in ends}
    order = sorted(ends, key=at.__getitem__)
    for end, height in zip(order, _apart([at[end] for end in order]), strict=True):
        panel.text(
            1.03, height, end.text, transform=panel.transAxes, color=end.colour, fontsize=8.5, va="center"
        )
        if np.isfinite(end.y):
            panel.annotate(
                "",
                xy=(end.x, end.y),
                xytext=(1.025, height),
                textcoords="axes fraction",
                arrowprops={
                    "arrowstyle": "-",
                    "color": end.colour,
                    "linewidth": 0.7,
                    "shrinkA": 0,
                    "shrinkB": 2,
                },
                annotation_clip=False,
            )


def _apart(heights: Sequence[float]) -> Floats:
    """Move sorted heights as little as leaves the label gap between them and keeps them within the panel."""
    shifts = _LABEL_GAP * np.arange(len(heights))
    room = max(0.0, 1 - _LABEL_GAP * (len(heights) - 1))
    moved: Floats = isotonic_regression(np.asarray(heights) - shifts).x.clip(0, room) + shifts
    return moved


def _draw_histogram(panel: Axes, accuracies: Floats) -> None:
    percent = 100 * accuracies
    panel.hist(
        percent, bins=list(range(0, 101, ACCURACY_BIN)), color="#9AA5B1", edgecolor="white", linewidth=0.5
    )
    median = float(np.median(percent))
    panel.axvline(median, color=_GREY, linewidth=1, linestyle=":")
    panel.set(xlabel="accuracy (%)", ylabel="architectures", xlim=(0, 100))
    panel.set_title(f"{len(percent)} architectures,\nmedian {median:.1f} %", fontsize=8.5)
