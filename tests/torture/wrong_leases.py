"""Negative controls: leases with one thing wrong each, which simulator and races have to find."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from storage_schema import lease
from storage_schema.lease import Lease, LeaseLostError, Owner


def no_check(patch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def guard(self: Lease) -> Iterator[None]:
        with lease._locked(self._lock, self._index):
            yield

    patch.setattr(Lease, "guard", guard)


def check_before_lock(patch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def guard(self: Lease) -> Iterator[None]:
        current = lease.read(self._path)
        if current is None or current.token != self.owner.token:
            raise LeaseLostError
        with lease._locked(self._lock, self._index):
            yield

    patch.setattr(Lease, "guard", guard)


def check_of_the_process_alone(patch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def guard(self: Lease) -> Iterator[None]:
        with lease._locked(self._lock, self._index):
            current = lease.read(self._path)
            if current is None or (current.host, current.pid) != (self.owner.host, self.owner.pid):
                raise LeaseLostError
            yield

    patch.setattr(Lease, "guard", guard)


def no_growing_number(patch: pytest.MonkeyPatch) -> None:
    describe = Owner.this_process
    patch.setattr(Owner, "this_process", lambda fence: describe(fence - 1))


def no_lock(patch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def locked(lock: Path, index: int) -> Iterator[Any]:
        handle = lease.os.open(lock, os.O_RDWR | os.O_CREAT)
        try:
            yield handle
        finally:
            lease.os.close(handle)

    patch.setattr(lease, "_locked", locked)


def numbers_of_lease_and_marker_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lease, "_number", lambda handle, index: 0)


def age_by_ones_own_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lease, "_age", lambda path: lease.time.time() - path.stat().st_mtime)


def release_without_guard(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lease, "release", lambda self, finished: self._path.unlink(missing_ok=True))


def process_ids_of_any_machine(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Owner, "gone", lambda self: self.token == "" or lease._started(self.pid) != self.started)


def containers_taken_for_their_host(patch: pytest.MonkeyPatch) -> None:
    boot = lease._boot
    patch.setattr(lease, "_boot", lambda: boot().partition(" ")[0])


WRONG: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "guard without the check": no_check,
    "guard that checks before it locks": check_before_lock,
    "guard that knows its process alone": check_of_the_process_alone,
    "takeover with the same number": no_growing_number,
    "number known from lease and marker alone": numbers_of_lease_and_marker_alone,
    "no lock": no_lock,
    "age by one's own clock": age_by_ones_own_clock,
    "release without guard": release_without_guard,
    "process asked for on any machine": process_ids_of_any_machine,
    "containers taken for their host": containers_taken_for_their_host,
}
