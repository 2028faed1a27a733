"""One execution of one index: lease, resume, work, marker; the same inline, in a worker and on a cluster."""

from __future__ import annotations

import resource
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from pipeline import gather
from pipeline.array_spec import format_array
from pipeline.entries import place
from pipeline.experiment import load
from pipeline.identity import Identities
from pipeline.registry import STAGES
from pipeline.status import failed_in
from slurm.preemption import EXIT_STOPPED, StopFlag
from slurm.task import EXIT_FAILED
from stages.experiment import Experiment
from stages.search_spaces.chosen import check_space
from stages.stage import Execution, Outcome, Stage, Stopped
from storage_schema import durable, legacy, markers
from storage_schema.errors import UserError
from storage_schema.layout import file_name
from storage_schema.lease import Lease, LeaseLostError, LeaseTakenError

EXIT_DONE = 0
NOTE_SECONDS = 30.0
PATIENCE_SECONDS = 3.0
"""Between two looks at an index that another process has."""


class InputError(UserError, RuntimeError):
    """An index whose inputs are not done."""


@dataclass(frozen=True)
class IndexTask:
    """The picklable work of one stage: nothing but what names it, as all state is on disk.

    Attributes:
        run: Name of a run whose workers all walk over the indices: what has failed in it is not tried again by each.
        keys: What its indices were when it was submitted; what has become something else since is not begun.
    """

    root: str
    stage: str
    allow_device_change: bool = False
    announce_taken: bool = True
    patient: bool = False
    run: str = ""
    keys: Mapping[int, str] = field(default_factory=dict)

    def __call__(self, index: int) -> int:
        """Do what is missing of one index; see `slurm.task.Task`."""
        experiment, stage = _opened(self.root), STAGES[self.stage]
        try:
            moved = _moved(experiment, stage, index, self.keys.get(index))
        except UserError as error:
            moved = f"{stage.name} {index}: {error}"
        if moved:
            _say(moved)
            return EXIT_FAILED
        return execute(
            experiment,
            stage,
            index,
            allow_device_change=self.allow_device_change,
            announce_taken=self.announce_taken,
            patient=self.patient,
            run=self.run,
        )


@lru_cache(maxsize=1)
def _opened(root: str) -> Experiment:
    """Open the experiment once in a worker, not for each of its indices: a plan does not change."""
    return load(Path(root))


def _moved(experiment: Experiment, stage: Stage, index: int, key: str | None) -> str:
    """Say what an index has become since it was something else; empty where it is the same, or nobody knows."""
    there = index < stage.num_tasks(experiment)
    now = stage.key(experiment, index) if there else None
    if key is None or now == key:
        return ""
    becomes = f"is now {now!r}" if there else "is now none"
    return f"{stage.name} {index} was {key!r} when it was submitted and {becomes}; run the pipeline command again"


def execute(
    experiment: Experiment,
    stage: Stage,
    index: int,
    *,
    allow_device_change: bool = False,
    announce_taken: bool = True,
    patient: bool = False,
    run: str = "",
    poll: Callable[[], None] = lambda: None,
) -> int:
    """Do what is missing of one index and return an exit code: 0 done or taken, 75 stopped, 1 failed.

    Where another process is at work on it, a patient call waits until the index is done, or the other one is gone:
    a task of a cluster that stepped aside for a node that has just died would leave its index undone.
    """
    announce = ("waiting for it" if patient else "stepping aside") if announce_taken else ""
    while True:
        try:
            attempt = Attempt.begin(experiment, stage, index, run)
        except UserError as error:
            _say(f"{stage.name} {index}: {error}")
            return EXIT_FAILED
        except LeaseTakenError as taken:
            if announce:
                _say(f"{stage.name} {index}: {taken} is at work on it; {announce}")
        else:
            return EXIT_DONE if attempt is None else attempt.go(allow_device_change, poll)
        if not patient:
            return EXIT_DONE
        announce = ""
        if _stopped_while_waiting(poll):
            return EXIT_STOPPED


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try at one index, begun: nobody else has it, and its inputs are done.

    Attributes:
        key: What the index is.
        identity: What its result follows from.
        lease: On the index.
        run: Name of the run, see `IndexTask`.
    """

    experiment: Experiment
    stage: Stage
    index: int
    key: str
    identity: str
    lease: Lease
    run: str

    @classmethod
    def begin(cls, experiment: Experiment, stage: Stage, index: int, run: str) -> Self | None:
        """Take the lease on an index; None where it is done.

        Raises:
            UserError: Inputs are not done, or what is there would not go with what this code computes.
            LeaseTakenError: Another process has it.
        """
        identities = Identities(experiment)
        if identities.done(stage, index):
            return None
        check_space(experiment)
        stage.admit(experiment)
        for name, inputs in unmet(identities, stage, index).items():
            raise InputError(needs(name, inputs))
        key = stage.key(experiment, index)
        lease = _acquire(experiment, stage, index, key)
        # Until the lease was ours somebody may have done its inputs again.
        identity = Identities(experiment).of(stage, index)
        if identity is None:
            _release(lease, finished=False)
            raise InputError("an input was taken away just now; run the same command again")
        return cls(
            experiment=experiment, stage=stage, index=index, key=key, identity=identity, lease=lease, run=run
        )

    def go(self, allow_device_change: bool, poll: Callable[[], None]) -> int:
        """Do the work, give the lease up, and return an exit code; a failure is recorded and said."""
        try:
            if self._failed_in_this_run():
                _release(self.lease, finished=False)
                return EXIT_FAILED  # said by the worker that tried
            # Somebody may have done it before the lease was ours.
            if not Identities(self.experiment).done(self.stage, self.index):
                self._work(allow_device_change, poll)
            _release(self.lease, finished=True)
            return EXIT_DONE
        except LeaseLostError as lost:
            _say(f"{self}: {lost}")
            return EXIT_FAILED
        except Stopped as stopped:
            _release(self.lease, finished=False)
            _say(f"{self.stage.name}: {stopped}; run the same command to go on")
            return EXIT_STOPPED
        except Exception as error:  # noqa: BLE001  whatever it is, it is recorded and the other indices go on
            self._fail(error)
            _release(self.lease, finished=False)
            return EXIT_FAILED

    def __str__(self) -> str:
        """Name stage and index."""
        return f"{self.stage.name} {self.index}"

    def _failed_in_this_run(self) -> bool:
        record = self.experiment.layout.failure(self.stage.name, self.key)
        return bool(self.run) and failed_in(record) == self.run

    def _work(self, allow_device_change: bool, poll: Callable[[], None]) -> None:
        previous = self._clear()
        with StopFlag() as flag:
            execution = Execution(
                identity=self.identity,
                should_stop=self._stop_asked(flag),
                guard=self.lease.guard,
                progress=self._progress(poll),
                previous=previous,
                allow_device_change=allow_device_change,
            )
            self._mark(self.stage.run(self.experiment, self.index, execution))

    def _clear(self) -> Mapping[str, Any] | None:
        """Take away the marker that no longer holds, before its files are overwritten, and what killed writers left.

        Stopped midway, and with the settings changed back, it would vouch for files of which some are new. So would
        one of before keys.

        Returns:
            What the marker said, if there was one.
        """
        layout, stage = self.experiment.layout, self.stage.name
        before = markers.load_if_readable(legacy.marker_in_force(layout, stage, self.index, self.key))
        with self.lease.guard():
            gather.clear_index(self.experiment, self.stage, self.index)
            for each in dict.fromkeys((self.key, file_name(self.index))):
                marker = layout.marker(stage, each)
                if marker.exists():
                    marker.unlink()
                    durable.sync_folder(marker.parent)
        return None if before is None else before.result

    def _stop_asked(self, flag: StopFlag) -> Callable[[], bool]:
        def should_stop() -> bool:
            self.lease.renew()
            return flag()

        return should_stop

    def _progress(self, poll: Callable[[], None]) -> Callable[..., None]:
        told = time.monotonic()

        def progress(share: float, note: str = "") -> None:
            nonlocal told
            poll()
            if note and time.monotonic() - told > NOTE_SECONDS:
                told = time.monotonic()
                _say(f"{self} ({self.stage.describe(self.experiment, self.index)}): {share:.0%}, {note}")

        return progress

    def _mark(self, outcome: Outcome) -> None:
        layout, stage = self.experiment.layout, self.stage.name
        marker = markers.Marker(
            stage=stage,
            index=self.index,
            identity=self.identity,
            fence=self.lease.owner.fence,
            digests=outcome.digests,
            result=outcome.result,
            provenance=outcome.provenance | {"peak_megabytes": _peak_megabytes()},
            key="" if self.key == file_name(self.index) else self.key,
        )
        with self.lease.guard():
            marker.save(layout.marker(stage, self.key))
            layout.checkpoint(stage, self.key).unlink(missing_ok=True)
            layout.failure(stage, self.key).unlink(missing_ok=True)

    def _fail(self, error: Exception) -> None:
        mistake = isinstance(error, UserError | OSError)
        text = str(error) if mistake else "".join(traceback.format_exception(error))
        _say(f"{self} failed: {text}")
        kind = "input or environment" if mistake else "defect of this program"
        name, message = type(error).__name__, str(error)
        record = {"error": name, "message": message, "kind": kind, "text": text, "run": self.run}
        try:
            with self.lease.guard():
                durable.write_json(self.experiment.layout.failure(self.stage.name, self.key), record)
        except (OSError, LeaseLostError) as also:
            _say(f"{self}: the failure could not be recorded either: {also}")


def _release(lease: Lease, *, finished: bool) -> None:
    """Give a lease up; where it is lost or cannot be written the outcome stands, and age makes it free."""
    with suppress(LeaseLostError, OSError):
        lease.release(finished=finished)


def _stopped_while_waiting(poll: Callable[[], None]) -> bool:
    with StopFlag() as flag:
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until and not flag():
            time.sleep(0.2)
            poll()
        return flag()


def unmet(identities: Identities, stage: Stage, index: int) -> dict[str, set[int]]:
    """Return the first stage that an index waits for, and which of its indices; nothing if all inputs are done."""
    waits_for = identities.waits_for(stage, index)
    first = min((each.stage for each in waits_for), key=list(STAGES).index, default="")
    return {first: {each.index for each in waits_for if each.stage == first}} if waits_for else {}


def needs(stage: str, inputs: set[int]) -> str:
    """Say which inputs are not done, and what to do."""
    return f"it needs {stage} {format_array(inputs)}, which is not done; run --stage {stage} first, or --stage all"


def _acquire(experiment: Experiment, stage: Stage, index: int, key: str) -> Lease:
    layout, name = experiment.layout, stage.name
    owner = legacy.held(layout, name, index, key)
    if owner is not None:
        raise LeaseTakenError(f"process {owner.pid} on {owner.host}, with older code,")
    # A marker of another experiment is no proof, but its number was given out.
    marker = markers.load(legacy.marker_in_force(layout, name, index, key))
    last_fence = 0 if marker is None else marker.fence
    path, lock = layout.lease(name, key), layout.lease_lock(name)
    return Lease.acquire(path, lock, place(experiment, stage, index), last_fence=last_fence)


def _peak_megabytes() -> int:
    """Largest resident memory of this process so far; Linux counts in KiB, macOS in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 1_000_000


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
