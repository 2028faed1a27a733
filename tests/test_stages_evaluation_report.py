"""Pictures and tables of results: what is drawn, what is written, and what is left out (R22, R25)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.baselines.registry import METHODS
from stages.evaluation import plot
from stages.evaluation.plot import Curve, curves, plot_tau
from stages.evaluation.report import drawn
from stages.scoring.metrics import ALL, UPPER_HALF, Comparison, Summary
from stages.scoring.tables import differences_table, histogram_table, tau_table
from stages.settings import ConfigError

STEPS = (1, 100, 200)
ACCURACIES = np.array([0.1, 0.62, 0.91, 0.93, 0.94])


def summary(method: str, snapshot: int, tau: float, std: float = 0.01, part: str = ALL) -> Summary:
    return Summary(
        method=method,
        part=part,
        snapshot=snapshot,
        kendall=tau,
        kendall_std=std,
        kendall_low=tau - 0.1,
        kendall_high=tau + 0.1,
        spearman=tau + 0.2,
        spearman_std=std,
    )


def comparison(snapshot: int, difference: float, p_value: float = 0.0123, part: str = ALL) -> Comparison:
    return Comparison(
        method="NAP2",
        reference="FLOPs",
        part=part,
        snapshot=snapshot,
        difference=difference,
        low=difference - 0.02,
        high=difference + 0.02,
        p_value=p_value,
    )


SUMMARIES = [
    *(summary("NAP2", k, 0.5 + k / 10) for k in range(3)),
    *(summary("FLOPs", k, 0.45) for k in range(3)),
    *(summary("accuracy", k, (math.nan, 0.3, 0.4)[k]) for k in range(3)),
    *(summary("failing", k, math.nan, math.nan) for k in range(3)),
    *(summary("NAP2", k, 0.2, math.nan, UPPER_HALF) for k in range(3)),
]


def test_a_part_has_one_curve_for_each_method() -> None:
    found = curves(SUMMARIES, ALL)
    assert list(found) == ["NAP2", "FLOPs", "accuracy", "failing"]
    np.testing.assert_allclose(found["NAP2"], [[0.5, 0.6, 0.7], [0.4, 0.5, 0.6], [0.6, 0.7, 0.8]])
    assert [curve.constant for curve in found.values()] == [False, True, False, False]
    assert list(curves(SUMMARIES, UPPER_HALF)) == ["NAP2"]


@pytest.mark.parametrize(("name", "magic"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("a.pdf", b"%PDF")])
def test_the_suffix_chooses_the_format(tmp_path: Path, name: str, magic: bytes) -> None:
    plot_tau(tmp_path / "new" / name, STEPS, curves(SUMMARIES, ALL), "all", ACCURACIES)
    assert (tmp_path / "new" / name).read_bytes().startswith(magic)
    assert [file.name for file in (tmp_path / "new").iterdir()] == [name]


def test_every_method_is_named_with_what_it_reaches(tmp_path: Path) -> None:
    plot_tau(tmp_path / "a.svg", STEPS, curves(SUMMARIES, ALL), "τ on all", ACCURACIES)
    drawn = (tmp_path / "a.svg").read_text()  # Text is drawn as paths, each after a comment with its words.
    for text in ("NAP2 0.70", "FLOPs 0.45 [0.35, 0.55]", "accuracy 0.40", "failing: undefined", "τ on all"):
        assert f"<!-- {text} -->" in drawn
    assert "<!-- 5 architectures, -->" in drawn


@pytest.mark.parametrize("steps", [(1,), (100, 200)])
def test_one_snapshot_or_no_method_can_be_drawn(tmp_path: Path, steps: tuple[int, ...]) -> None:
    constant = Curve(np.array([0.5]), np.array([0.4]), np.array([0.6]))
    plot_tau(tmp_path / "a.png", steps, {"FLOPs": constant}, "", ACCURACIES)
    plot_tau(tmp_path / "b.png", steps, {}, "", ACCURACIES)
    assert len(list(tmp_path.iterdir())) == 2


def test_an_unknown_format_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown format 'gif'; use one of png, svg, pdf"):
        plot_tau(tmp_path / "a.gif", STEPS, {}, "", ACCURACIES)
    with pytest.raises(ValueError, match="NAP2: 3 values for 2 steps"):
        plot_tau(tmp_path / "a.png", STEPS[:2], curves(SUMMARIES, ALL), "", ACCURACIES)
    assert not list(tmp_path.iterdir())


@given(st.lists(st.floats(0, 1), min_size=1, max_size=15).map(sorted))
def test_names_stand_apart_within_the_panel_and_stay_where_there_is_room(heights: list[float]) -> None:
    moved = plot._apart(heights)
    assert np.all(np.diff(moved) >= plot._LABEL_GAP - 1e-9)
    assert moved.min() >= -1e-9
    assert moved.max() <= 1 + 1e-9
    if np.all(np.diff(heights) >= plot._LABEL_GAP):
        np.testing.assert_allclose(moved, heights, atol=1e-9)


def test_the_table_of_correlations() -> None:
    assert tau_table(SUMMARIES, {2: "200", 0: "1", 7: "700"}) == (
        "| Kendall τ-b, all |           200 |             1 |\n"
        "| ---------------- | ------------: | ------------: |\n"
        "| NAP2             | 0.700 ± 0.010 | 0.500 ± 0.010 |\n"
        "| FLOPs            | 0.450 ± 0.010 | 0.450 ± 0.010 |\n"
        "| accuracy         | 0.400 ± 0.010 |             – |\n"
        "| failing          |             – |             – |\n"
        "\n"
        "| Kendall τ-b, upper half |   200 |     1 |\n"
        "| ----------------------- | ----: | ----: |\n"
        "| NAP2                    | 0.200 | 0.200 |\n"
    )
    assert "| NAP2          | 0.700 ± 0.010 |\n" in tau_table(SUMMARIES, {0: "1"}, "spearman")


def test_the_table_of_differences() -> None:
    rows = [
        comparison(0, -0.1),
        comparison(1, 0.01, math.nan),
        comparison(2, 0.25, 1e-7),
        comparison(0, math.nan, math.nan, UPPER_HALF),
    ]
    assert differences_table(rows, {0: "1", 1: "100", 2: "200"}) == (
        "| Δτ-b, all | minus |  at |     Δτ |    95 % interval | t-test p | verdict   |\n"
        "| --------- | ----- | --: | -----: | ---------------: | -------: | --------- |\n"
        "| NAP2      | FLOPs |   1 | -0.100 | [-0.120, -0.080] |    0.012 | loses     |\n"
        "| NAP2      | FLOPs | 100 | +0.010 | [-0.010, +0.030] |        – | undecided |\n"
        "| NAP2      | FLOPs | 200 | +0.250 | [+0.230, +0.270] |    1e-07 | beats     |\n"
        "\n"
        "| Δτ-b, upper half | minus |  at |  Δτ | 95 % interval | t-test p | verdict |\n"
        "| ---------------- | ----- | --: | --: | ------------: | -------: | ------- |\n"
        "| NAP2             | FLOPs |   1 |   – |             – |        – | –       |\n"
    )


def test_the_table_of_accuracies() -> None:
    lines = histogram_table(ACCURACIES).splitlines()
    assert [line.split("|")[1:3] for line in lines[2:]] == [
        [" 10-15        ", "             1 "],
        [" 60-65        ", "             1 "],
        [" 90-95        ", "             3 "],
    ]
    assert lines[4].count("#") == 40
    assert len(set(map(len, lines))) == 1


def test_a_bar_in_a_name_does_not_end_its_cell() -> None:
    assert r"| a\|b             | 0.500 ± 0.010 |" in tau_table([summary("a|b", 0, 0.5)], {0: "1"})


def test_models_references_and_the_best_of_each_other_kind_are_drawn() -> None:
    found = {
        "NAP2": constant(0.1),
        "NAP2 mask": constant(0.2),
        "parameters": constant(0.5),
        "SynFlow": constant(0.6),
        "NASWOT": constant(0.7),
        "SoTL": constant(0.1),
        "early stop": constant(np.nan),
        "LcSVR": constant(np.nan),
    }
    kinds = {name: method.kind for name, method in METHODS.items()}
    assert list(drawn(found, kinds)) == ["NAP2", "NAP2 mask", "parameters", "NASWOT", "SoTL"]


def constant(tau: float) -> Curve:
    return Curve(*np.full((3, 2), tau))
