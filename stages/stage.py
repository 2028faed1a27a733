"""What a stage is, and what it is given: one execution of one index of an experiment."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from stages.experiment import Experiment
from storage_schema import legacy
from storage_schema.layout import Layout, file_name
from storage_schema.lease import LeaseLostError
from storage_schema.markers import Marker
from storage_schema.write import digests

BEAT_SECONDS = 10.0
"""Between two polls of work that does not poll."""


class Stopped(Exception):  # noqa: N818  it is no error
    """The execution saved its state because it was asked to stop; run again to go on."""


class Progress(Protocol):
    """Where an execution says how far it is."""

    def __call__(self, share: float, note: str = "") -> None:
        """Take the share done, 0 to 1, and what there is to say of it."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One execution of one index.

    Attributes:
        identity: Of the index: what its result follows from.
        should_stop: Polled at every mini-batch; also renews the lease.
        guard: Context manager in which everything durable is written; refuses when the lease is lost.
        progress: Told how far the work is.
        previous: What the marker said that this one replaces; None where there was none, as after a kill in between.
        allow_device_change: Resume on another device model or other library versions.
    """

    identity: str
    should_stop: Callable[[], bool]
    guard: Callable[[], AbstractContextManager[None]]
    progress: Progress
    previous: Mapping[str, Any] | None = None
    allow_device_change: bool = False

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Keep the lease alive during work that polls nothing; else another process takes the index over.

        Nothing durable may be written within: the guard belongs to one thread.
        """
        done = threading.Event()

        def beat() -> None:
            with suppress(LeaseLostError, OSError):  # a lost lease is told where the result would be written
                while not done.wait(BEAT_SECONDS):
                    self.should_stop()

        thread = threading.Thread(target=beat, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a finished index leaves for its marker."""

    digests: dict[str, str]
    result: dict[str, Any]
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Input:
    """One index of another stage that an index reads: it has to be done, and its digests belong to the identity.

    Attributes:
        index: Its position now.
        key: What it is; empty where its position says it.
        reads: Names of the digests of what is read of it; none for all that it is.
    """

    stage: str
    index: int
    key: str = ""
    reads: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Name the input, in an identity: for what it is, and not for where it stands among others."""
        return f"{self.stage} {self.key or self.index}"

    def marker(self, layout: Layout) -> Path:
        """Return where its marker is."""
        return legacy.marker_in_force(layout, self.stage, self.index, self.key or self.index)

    def read_of(self, digests: Mapping[str, str]) -> dict[str, str]:
        """Return the digests of what is read, a part's (`train 700`) by the name of its whole (`train`).

        Of a marker that is older than parts are, all counts as read.
        """
        if not self.reads or not set(self.reads) <= digests.keys():
            return whole(digests)
        return {name.partition(" ")[0]: digests[name] for name in self.reads}


def whole(digests: Mapping[str, str]) -> dict[str, str]:
    """Return the digests of whole files, without those of parts."""
    return {name: value for name, value in digests.items() if " " not in name}


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What some indices would take, roughly, for one worker.

    Attributes:
        bytes: On disk, besides the markers.
    """

    seconds: float
    bytes: float = 0


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What the indices of a stage share on disk; verify and repair see to it.

    Attributes:
        files: As far as they are there, those that `prepare` makes and `finalise` gathers, by name.
        store: The store that `prepare` creates whole, if there is one.
        restore: Creates again what is missing of a stage that was begun; None: `prepare` does.
    """

    files: Mapping[str, Path] = field(default_factory=dict)
    store: Path | None = None
    restore: Callable[[], None] | None = None


class Stage(ABC):
    """What every stage is; its module's functions need torch only inside `run`."""

    name: ClassVar[str]
    config: ClassVar[type[Any] | None] = None
    """The class of its section of `experiment.toml`, where that is not among those of `Settings`."""
    required: ClassVar[bool] = True
    """Whether nothing after it is worth beginning where some of its indices fail."""

    @abstractmethod
    def num_tasks(self, experiment: Experiment) -> int:
        """Return the number of indices."""

    def key(self, experiment: Experiment, index: int) -> str:
        """Return what an index is, to name its results by; the default is its position, where that is what it is.

        A key stays the same when others are added, removed or put in another order.
        """
        return file_name(index)

    def describe(self, experiment: Experiment, index: int) -> str:
        """Say what an index is, in a few words."""
        return experiment.architectures[index]

    def facts(self, experiment: Experiment) -> Sequence[Mapping[str, Any]]:
        """Return what each index is, as data with its `key`, where other stages choose by it (`Experiment.parts`)."""
        return ()

    def kind(self, experiment: Experiment, index: int) -> str:
        """Return a name that indices share which take about as long as one another."""
        return ""

    def estimate(self, experiment: Experiment, indices: Sequence[int]) -> Estimate:
        """Return what indices would take that nothing finished tells of."""
        return Estimate(seconds=float(len(indices)))

    def seconds_taken(self, result: Mapping[str, Any]) -> Any:
        """Return how long an index took, by the result in its marker; None where that does not say."""
        return result.get("seconds")

    def settings(self, experiment: Experiment, index: int) -> Mapping[str, Any] | None:
        """Return what decides the result besides the inputs; None: the experiment's identity says it all."""
        return None

    def settings_before_keys(self, experiment: Experiment, index: int) -> Mapping[str, Any] | None:
        """Return the settings as identities had them before keys; see `storage_schema.legacy`."""
        return self.settings(experiment, index)

    def inputs(self, experiment: Experiment, index: int) -> Sequence[Input]:
        """Return what has to be done before."""
        return ()

    def admit(self, experiment: Experiment) -> None:
        """Refuse to compute indices that would not go with those that are there.

        Raises:
            UserError: They would not, and what would help.
        """
        return

    def prepare(self, experiment: Experiment) -> None:
        """Create what the indices share; harmless when repeated or done by several processes at once."""
        return

    @abstractmethod
    def run(self, experiment: Experiment, index: int, execution: Execution) -> Outcome:
        """Compute one index, resuming from its checkpoint.

        Raises:
            Stopped: Asked to stop; the state is saved.
        """

    def finalise(self, experiment: Experiment) -> None:
        """Gather what the markers of finished indices say; harmless when repeated."""
        return

    def report(self, experiment: Experiment) -> list[str]:
        """Return the lines that a person wants to see when the stage has run."""
        return []

    @abstractmethod
    def files(self, experiment: Experiment, index: int) -> dict[str, Path]:
        """Return the files and folders that an index writes, by the names of their digests."""

    def shared(self, experiment: Experiment) -> Shared:
        """Return what the indices share on disk."""
        return Shared()

    def digests(self, experiment: Experiment, marker: Marker) -> dict[str, str]:
        """Return digests of what is on disk now of a finished index, by the names in its marker.

        The marker has the index that it has now, not the one that it was finished at.
        """
        return digests(self.files(experiment, marker.index))
