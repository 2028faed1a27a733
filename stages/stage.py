"""What a stage is, and what it is given: the experiment, and one execution of one index."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from stages.architectures.config import ArchitecturesConfig
from stages.architectures.layers import NetworkShape
from stages.collect.config import RecordingConfig
from stages.datasets.config import CLASSES, DataConfig
from stages.labels.config import LabelsConfig
from stages.training.config import TrainingConfig
from storage_schema.layout import Layout

GRAY = ("digits", "fashion_mnist")


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """Every setting of an experiment, one attribute a section of `experiment.toml`."""

    architectures: ArchitecturesConfig = field(default_factory=ArchitecturesConfig)
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    recording: RecordingConfig = field(default_factory=RecordingConfig)
    labels: LabelsConfig = field(default_factory=LabelsConfig)

    @property
    def network_shape(self) -> NetworkShape:
        """Width, depth and interface of the networks."""
        return NetworkShape(
            channels=self.architectures.channels,
            cells_per_stage=self.architectures.cells_per_stage,
            classes=CLASSES[self.data.name],
            image_size=self.data.size,
            input_channels=1 if self.data.name in GRAY else 3,
        )


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """An experiment on disk: where it is, its settings, its plan.

    Attributes:
        architectures: Architecture string of every index.
        planned_labels: Accuracy of every index, None where it is not known beforehand.
        data_digest: Content digest of the data set, part of the identity.
    """

    layout: Layout
    config: ExperimentConfig
    identity: str
    architectures: tuple[str, ...]
    planned_labels: tuple[float | None, ...]
    data_digest: str


class Stopped(Exception):  # noqa: N818  it is no error
    """The execution saved its state because it was asked to stop; run again to go on."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One execution of one index.

    Attributes:
        should_stop: Polled at every mini-batch; also renews the lease.
        guard: Context manager in which everything durable is written; refuses when the lease is lost.
        progress: Told the share done, 0 to 1.
        allow_device_change: Resume on another device model or other library versions.
    """

    should_stop: Callable[[], bool]
    guard: Callable[[], AbstractContextManager[None]]
    progress: Callable[[float], None]
    allow_device_change: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a finished index leaves for its marker."""

    digests: dict[str, str]
    result: dict[str, Any]
    provenance: dict[str, Any]


class Stage(Protocol):
    """The protocol of every stage; its module's functions need torch only inside `run`."""

    name: str

    def num_tasks(self, experiment: Experiment) -> int:
        """Return the number of indices."""

    def prepare(self, experiment: Experiment) -> None:
        """Create what the indices share; harmless when repeated or done by several processes at once."""

    def run(self, experiment: Experiment, index: int, execution: Execution) -> Outcome:
        """Compute one index, resuming from its checkpoint.

        Raises:
            Stopped: Asked to stop; the state is saved.
        """

    def finalise(self, experiment: Experiment) -> None:
        """Gather what the markers of finished indices say; harmless when repeated."""
