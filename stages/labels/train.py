"""Own training of one architecture to the end of a schedule, for its label (R13); resumable."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stages.experiment import Experiment
from stages.labels.config import LabelsConfig
from stages.stage import Execution, Stopped
from stages.training import loop
from stages.training.config import TrainingConfig
from stages.training.order import batches_per_epoch
from stages.training.resumable import ResumableTraining


def train_to_the_end(
    experiment: Experiment, index: int, execution: Execution, name: str
) -> tuple[float, dict[str, Any]]:
    """Train for `labels.epochs` epochs and return accuracy and provenance.

    Args:
        experiment: The experiment.
        index: Position of the architecture in the plan.
        execution: Polled at every mini-batch.
        name: Of the stage, for the checkpoint's path.

    Returns:
        Accuracy (fraction) on test images that do not validate, and where and with what it was computed.

    Raises:
        Stopped: Asked to stop; the state is saved.
    """
    training = LabelTraining(experiment, index, execution, name)
    training.resume()
    training.work()
    return training.accuracy(), training.provenance()


class LabelTraining(ResumableTraining):
    """One architecture on its way to the end of its schedule."""

    def __init__(self, experiment: Experiment, index: int, execution: Execution, name: str) -> None:
        settings = experiment.settings
        # The cosine ends where this training does, not where the collected one would have.
        schedule = replace(settings(TrainingConfig), epochs=max(1, settings(LabelsConfig).epochs))
        super().__init__(experiment, index, execution, name, schedule)
        self._epoch = batches_per_epoch(len(self._data.train_labels), schedule.batch_size)
        self._last = settings(LabelsConfig).epochs * self._epoch

    def work(self) -> None:
        """Run the mini-batches that are left, saving once an epoch.

        Raises:
            Stopped: Asked to stop; the checkpoint is at the last whole mini-batch.
        """
        while self._step < self._last:
            self._trainer.backward(self._step + 1)
            self._trainer.update(self._step + 1)
            self._step += 1
            stop = self._execution.should_stop() and self._step < self._last
            if stop or (self._step % self._epoch == 0 and self._step < self._last):
                self._save()
            if stop:
                raise Stopped(f"index {self._index} saved at mini-batch {self._step} of {self._last}")
            self._execution.progress(self._step / self._last)

    def accuracy(self) -> float:
        """Return the fraction of test images, none of them used to validate, that are classified rightly."""
        source, size = self._data.source, self._experiment.settings(TrainingConfig).batch_size
        images, labels = source.test_images, source.test_labels
        return loop.evaluate(self._trainer.network, self._data, images, labels, size)[0]
