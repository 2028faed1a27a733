"""What every resumable computation shares: checkpoint, device and provenance; and what networks add to it."""

from __future__ import annotations

from typing import Any

from stages.datasets.config import DataConfig
from stages.experiment import Experiment
from stages.search_spaces.build import build
from stages.search_spaces.chosen import space_of, task_of
from stages.stage import Execution
from stages.training import checkpoint, loop
from stages.training.config import TrainingConfig
from stages.training.data import device_data
from stages.training.determinism import choose_device, fingerprint, make_deterministic, provenance


class Resumable:
    """A computation of one index of a stage that goes on where its checkpoint is.

    Args:
        experiment: The experiment.
        key: What the index is (`Stage.key`), for the checkpoint's path.
        execution: Guards what is saved.
        stage: Name of the stage, for the checkpoint's path.
        device: Setting that names the device.
        threads: CPU threads.
        matmul_precision: Of products of float32.
    """

    discard_foreign = True
    """Whether a checkpoint of another identity is left alone; else it is refused."""

    def __init__(
        self,
        experiment: Experiment,
        key: int | str,
        execution: Execution,
        stage: str,
        device: str,
        threads: int,
        matmul_precision: str = "highest",
    ) -> None:
        make_deterministic(threads, matmul_precision)
        self._experiment, self._key, self._execution = experiment, key, execution
        self._device = choose_device(device)
        self._fingerprint = fingerprint(self._device)
        self._resumed_on: list[dict[str, str]] = []
        self._path = experiment.layout.checkpoint(stage, key)

    def resume(self) -> None:
        """Go on where the checkpoint is, if there is one.

        Raises:
            CheckpointError: It is another experiment's, or was made on another device or with other versions.
        """
        kept = checkpoint.load(
            self._path, self._device, self._execution.identity, discard_foreign=self.discard_foreign
        )
        if kept is None:
            return
        allowed = self._execution.allow_device_change
        checkpoint.check_fingerprint(self._path, kept["fingerprint"], self._fingerprint, allowed)
        self._resumed_on = kept["resumed_on"]
        if kept["fingerprint"] != self._fingerprint:
            self._resumed_on = [*self._resumed_on, kept["fingerprint"]]
        self._restore(kept)

    def provenance(self) -> dict[str, Any]:
        """Return where and with what it was computed."""
        return provenance(self._fingerprint, self._resumed_on)

    def _state(self) -> dict[str, Any]:
        """Return everything that is needed to go on exactly."""
        raise NotImplementedError

    def _restore(self, kept: dict[str, Any]) -> None:
        """Go back to what `_state` returned."""
        raise NotImplementedError

    def _save(self) -> None:
        content = {
            "identity": self._execution.identity,
            "fingerprint": self._fingerprint,
            "resumed_on": self._resumed_on,
            **self._state(),
        }
        with self._execution.guard():
            checkpoint.save(self._path, content)


class ResumableTraining(Resumable):
    """One architecture at some mini-batch of its training.

    Args:
        experiment: The experiment.
        index: Position of the architecture in the plan.
        execution: Guards what is saved.
        stage: Name of the stage, for the checkpoint's path.
        training: How to train.
    """

    discard_foreign = False  # it may have cost GPU hours

    def __init__(
        self, experiment: Experiment, index: int, execution: Execution, stage: str, training: TrainingConfig
    ) -> None:
        super().__init__(experiment, index, execution, stage, training.device, training.threads)
        self._index = index
        self._data = device_data(experiment.settings(DataConfig), self._device, experiment.data_digest)
        architecture = experiment.architectures[index]
        network = build(space_of(experiment), architecture, task_of(experiment.settings), training.seed)
        self._trainer = loop.Trainer(network.to(self._device), self._data, training)
        self._step = 0

    def _state(self) -> dict[str, Any]:
        return {"step": self._step, "trainer": loop.state(self._trainer)}

    def _restore(self, kept: dict[str, Any]) -> None:
        loop.restore(self._trainer, kept["trainer"])
        self._step = kept["step"]
