"""How far an experiment is, from the data alone: markers, leases, checkpoints and failures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.entries import Entries
from pipeline.identity import Identities
from slurm.controller import QueuedTask
from stages.experiment import Experiment
from stages.stage import Stage
from storage_schema import documents, lease

STATES = ("done", "running", "queued", "partial", "failed", "stale", "missing")


@dataclass(frozen=True, kw_only=True)
class StageStatus:
    """The state of every index of a stage.

    Attributes:
        indices: By state, ascending. `partial` has a checkpoint and nobody at work on it; `stale` was done
            with other settings or inputs, or its marker cannot be read; `queued` waits in a cluster's queue.
        failures: Index to the one line that says why it failed last.
    """

    stage: str
    indices: dict[str, list[int]]
    failures: dict[int, str]

    @property
    def total(self) -> int:
        """Number of indices."""
        return sum(map(len, self.indices.values()))

    @property
    def unfinished(self) -> list[int]:
        """Indices that a run would take up: everything but the done and the running."""
        return sorted(i for state in ("partial", "failed", "stale", "missing") for i in self.indices[state])


def stage_status(experiment: Experiment, stage: Stage) -> StageStatus:
    """Read the state of every index of a stage: one listing a folder, one read of each marker, lease and failure."""
    layout, name, entries = experiment.layout, stage.name, Entries(experiment, stage)
    marked, identities = entries.marked(), Identities(experiment)
    done = {i for i in marked if identities.done(stage, i)}
    leased, failed, partial = (
        entries.with_lease() - done,
        entries.with_failure() - done,
        entries.with_checkpoint(),
    )
    keys = {i: stage.key(experiment, i) for i in leased | failed}
    running = {i for i in leased if lease.held(layout.lease(name, keys[i]))}
    failures = {i: _reason(layout.failure(name, keys[i])) for i in failed}
    indices: dict[str, list[int]] = {state: [] for state in STATES}
    for index in range(stage.num_tasks(experiment)):
        if index in done:
            state = "done"
        elif index in running:
            state = "running"
        elif index in failures:
            state = "failed"
        elif index in partial:
            state = "partial"
        else:
            state = "stale" if index in marked else "missing"
        indices[state].append(index)
    return StageStatus(stage=name, indices=indices, failures=failures)


def with_queue(status: StageStatus, tasks: Mapping[int, QueuedTask]) -> StageStatus:
    """Return a status in which what is in a cluster's queue is running or queued, whatever the data says of it."""
    indices: dict[str, list[int]] = {state: [] for state in STATES}
    for state, found in status.indices.items():
        for index in found:
            task = tasks.get(index)
            if state == "done" or task is None or task.hopeless:
                indices[state].append(index)
            else:
                indices["queued" if task.state == "PENDING" else "running"].append(index)
    return StageStatus(
        stage=status.stage,
        indices={state: sorted(found) for state, found in indices.items()},
        failures=status.failures,
    )


def _reason(path: Path) -> str:
    found = read_failure(path)
    return "unknown: the record of the failure is damaged" if found is None else f"{found[1]} ({found[0]})"


def read_failure(path: Path) -> tuple[str, str] | None:
    """Return kind and message, in one line, of the failure that an index recorded; None without a readable one."""
    try:
        record = documents.load(path, dict[str, str])
        return _plain(record["kind"]), _plain(f"{record['error']}: {record['message']}")
    except (OSError, ValueError, KeyError):
        return None


def failed_in(path: Path) -> str:
    """Return the name of the run in which an index failed; empty where there is no record that says it."""
    try:
        record: dict[str, str] = documents.load(path, dict[str, str])
        return record.get("run", "")
    except (OSError, ValueError):
        return ""


def _plain(text: str) -> str:
    """Without what would end the line or steer a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
