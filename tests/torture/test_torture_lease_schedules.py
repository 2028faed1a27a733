"""Leases under many schedules of a simulated cluster, and wrong leases that have to be found there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from lease_simulator import first_violation, run_schedule, simulated, story
from simulated_world import BrokenRuleError, Crew
from wrong_leases import WRONG

Often = Callable[[int, int], int]
Figure = Callable[[str], None]
SOON = 2000  # schedules within which a wrong lease has to be found


@pytest.fixture
def crew() -> Iterator[Crew]:
    with simulated() as bearers:
        yield bearers


def test_no_schedule_lets_two_executions_write(
    crew: Crew, often: Often, torture_seed: int, figure: Figure
) -> None:
    count, start = often(3_000, 100_000), time.perf_counter()
    found, seen = first_violation(crew, torture_seed, count)
    assert found is None, story(crew, torture_seed, found)
    happened = ("takeovers from the living", "refused", "deaths", "stalls", "old sights")
    assert all(seen[what] > count // 20 for what in happened), seen
    figure(
        f"lease: {count:,} schedules under seed {torture_seed} in {time.perf_counter() - start:.0f} s, "
        f"0 double writers; {seen['writes']:,} writes, "
        + ", ".join(f"{seen[what]:,} {what}" for what in happened)
    )


def test_a_schedule_can_be_repeated(crew: Crew, torture_seed: int) -> None:
    assert all(story(crew, torture_seed, number) == story(crew, torture_seed, number) for number in range(20))


@pytest.mark.parametrize("wrong", WRONG)
def test_negative_control_a_wrong_lease_is_found(
    wrong: str, crew: Crew, torture_seed: int, figure: Figure, monkeypatch: pytest.MonkeyPatch
) -> None:
    WRONG[wrong](monkeypatch)
    found, _ = first_violation(crew, torture_seed, SOON)
    assert found is not None
    # Not by a simulator that lacks something: then every schedule would end so, of a right lease as well.
    assert isinstance(run_schedule(crew, torture_seed, found).violation, (BrokenRuleError, FileNotFoundError))
    figure(f"lease, negative control: {wrong}: found after {found + 1} schedules")
