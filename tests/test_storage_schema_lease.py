"""One writer an index: taking, taking over, and refusing the overtaken (docs/decisions/0003)."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from storage_schema import lease
from storage_schema.lease import STALE_SECONDS, Lease, LeaseLostError, LeaseTakenError


def take(folder: Path, index: int = 3) -> Lease:
    return Lease.acquire(folder / "leases" / f"{index}.json", folder / "lock", index)


def elsewhere(folder: Path, *, age: float) -> None:
    """Make the lease look like one of another machine, renewed some seconds ago."""
    path = folder / "leases" / "3.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"boot": "another", "host": "far"}))
    now = time.time()
    os.utime(path, (now - age, now - age))


def test_a_living_owner_keeps_others_out(tmp_path: Path) -> None:
    mine = take(tmp_path)
    with pytest.raises(LeaseTakenError, match=str(os.getpid())):
        take(tmp_path)
    with mine.guard():
        pass


def test_the_number_grows_also_after_release(tmp_path: Path) -> None:
    first = take(tmp_path)
    first.release(finished=False)
    assert lease.held(tmp_path / "leases" / "3.json") is None
    assert take(tmp_path).owner.fence == first.owner.fence + 1


def test_it_is_gone_when_the_index_is_finished(tmp_path: Path) -> None:
    take(tmp_path).release(finished=True)
    assert list((tmp_path / "leases").iterdir()) == []


def test_no_number_is_given_out_twice_whoever_knows_of_it(tmp_path: Path) -> None:
    """A marker is read before the lock, and a finished index leaves no lease: neither knows every number."""
    for index in (3, 2, 1000):
        for number in (1, 2, 3):
            held = take(tmp_path, index)
            assert held.owner.fence == number
            held.release(finished=True)
    path, lock = tmp_path / "leases" / "3.json", tmp_path / "lock"
    assert Lease.acquire(path, lock, 3, last_fence=7).owner.fence == 8


def named(folder: Path, name: str) -> Lease:
    return Lease.acquire(folder / "leases" / f"{name}.json", folder / "lock", lease.place(name))


def sharing() -> tuple[str, str]:
    """Return two names of one place."""
    seen: dict[int, str] = {}
    for name in (f"maps-{i}" for i in count()):
        if seen.setdefault(lease.place(name), name) != name:
            return seen[lease.place(name)], name
    raise AssertionError


def test_names_that_share_a_place_are_leases_of_their_own(tmp_path: Path) -> None:
    """Each holds its own at the same time, sees its own numbers grow, and is refused when it alone is overtaken."""
    one, other = sharing()
    first, second = named(tmp_path, one), named(tmp_path, other)
    for mine in (first, second):
        with mine.guard():
            pass
    assert second.owner.fence == first.owner.fence + 1
    for name in (one, other):
        with pytest.raises(LeaseTakenError):
            named(tmp_path, name)
    first.release(finished=True)
    with second.guard():
        pass
    again = named(tmp_path, one)
    assert again.owner.fence > second.owner.fence
    again.release(finished=False)
    with pytest.raises(LeaseLostError, match="it was taken over by process"), again.guard():
        pytest.fail("the write went through")
    second.renew()


def test_the_lock_file_of_names_stays_small_where_there_are_no_holes(tmp_path: Path) -> None:
    name = max((f"maps-{i}" for i in range(200_000)), key=lease.place)
    assert lease.place(name) > 0.99 * lease.PLACES
    named(tmp_path, name)
    assert (tmp_path / "lock").stat().st_size <= 512 * 1024


def test_a_lock_file_of_before_it_kept_numbers_is_usable(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    assert Lease.acquire(tmp_path / "leases" / "3.json", tmp_path / "lock", 3, last_fence=4).owner.fence == 5


def test_a_killed_owner_on_this_machine_is_replaced_at_once(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        take(tmp_path)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert take(tmp_path).owner.fence == 2


def test_an_owner_elsewhere_is_replaced_when_it_is_stale_not_before(tmp_path: Path) -> None:
    take(tmp_path)
    elsewhere(tmp_path, age=STALE_SECONDS - 10)
    with pytest.raises(LeaseTakenError, match="far"):
        take(tmp_path)
    elsewhere(tmp_path, age=STALE_SECONDS + 10)
    assert take(tmp_path).owner.fence == 2


def test_a_renewal_in_the_future_does_not_keep_a_lease_for_ever(tmp_path: Path) -> None:
    """The clock was set back, or the file was touched: an owner elsewhere would never be replaced."""
    path = tmp_path / "leases" / "3.json"
    take(tmp_path)
    elsewhere(tmp_path, age=10 - STALE_SECONDS)
    assert lease.held(path)
    with pytest.raises(LeaseTakenError, match="far"):
        take(tmp_path)
    elsewhere(tmp_path, age=-STALE_SECONDS - 10)
    assert lease.held(path) is None
    assert take(tmp_path).owner.fence == 2


def test_a_process_of_another_container_counts_as_elsewhere(tmp_path: Path) -> None:
    take(tmp_path)
    path = tmp_path / "leases" / "3.json"
    owner = json.loads(path.read_text())
    boot, _, namespace = owner["boot"].partition(" ")
    assert namespace.startswith("pid:")
    path.write_text(json.dumps(owner | {"boot": f"{boot} pid:[1]", "started": "1"}))
    with pytest.raises(LeaseTakenError):
        take(tmp_path)
    path.write_text(json.dumps(owner | {"started": "1"}))
    assert take(tmp_path).owner.fence == 2


def overtaken(folder: Path) -> Lease:
    old = take(folder)
    elsewhere(folder, age=STALE_SECONDS + 10)
    take(folder)
    return old


def test_a_late_write_is_refused_whatever_the_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = overtaken(tmp_path)
    for now in (0.0, 1e12):
        monkeypatch.setattr(time, "monotonic", lambda now=now: now)
        with pytest.raises(LeaseLostError, match="taken over"), old.guard():
            pytest.fail("the write went through")
    with pytest.raises(LeaseLostError):
        old.release(finished=True)


def test_negative_control_without_the_check_the_late_write_goes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = overtaken(tmp_path)
    monkeypatch.setattr(lease, "read", lambda path: old.owner)
    written = []
    with old.guard():
        written.append(1)
    assert written


def race(folder: Path, barrier: Any, won: Any) -> None:
    barrier.wait()
    try:
        take(folder)
        won.put(os.getpid())
    except LeaseTakenError:
        won.put(0)
    barrier.wait()  # alive until everybody has tried


def test_of_racing_processes_exactly_one_wins(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(20):
        barrier, won = context.Barrier(4), context.Queue()
        folder = tmp_path / str(attempt)
        folder.mkdir()
        if attempt % 2:  # over the lease of somebody gone
            take(folder)
            elsewhere(folder, age=STALE_SECONDS + 10)
        runners = [context.Process(target=race, args=(folder, barrier, won)) for _ in range(4)]
        for runner in runners:
            runner.start()
        results = [won.get(timeout=300) for _ in runners]
        for runner in runners:
            runner.join()
        assert sum(pid != 0 for pid in results) == 1
