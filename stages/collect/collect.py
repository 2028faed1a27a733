"""Train one architecture and stream its statistics into the store; resumable at any mini-batch (R3, R10, R11)."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.experiment import Experiment
from stages.recording.config import RecordingConfig
from stages.recording.recorder import Recorder
from stages.search_spaces.chosen import space_of, task_of
from stages.stage import Execution, Outcome, Stopped
from stages.training import loop
from stages.training.clock import clock
from stages.training.config import TrainingConfig
from stages.training.resumable import ResumableTraining
from storage_schema import schema
from storage_schema.write import ArchitectureWriter

NAME = "collect"


def run(experiment: Experiment, index: int, execution: Execution) -> Outcome:
    """Collect one architecture; see `stages.stage.Stage.run`."""
    collection = Collection(experiment, index, execution)
    collection.resume()
    collection.work()
    return collection.outcome()


class Collection(ResumableTraining):
    """One architecture on its way from the first mini-batch to the last."""

    def __init__(self, experiment: Experiment, index: int, execution: Execution) -> None:
        settings = experiment.settings
        super().__init__(experiment, index, execution, NAME, settings(TrainingConfig))
        self._recorder = Recorder(
            self._trainer.network,
            settings(RecordingConfig),
            space_of(experiment).max_layers(task_of(settings)),
        )
        self._writer = ArchitectureWriter(experiment.layout.dynamics, index)
        self._losses = torch.full((settings(RecordingConfig).mini_batches,), torch.nan, device=self._device)

    def work(self) -> None:
        """Run the mini-batches that are left.

        Raises:
            Stopped: Asked to stop; the checkpoint is at the last whole mini-batch.
        """
        last = len(self._losses)
        while self._step < last:
            taken = self._mini_batch(self._step + 1)
            stop = self._execution.should_stop() and self._step < last
            if taken:
                with self._execution.guard():
                    self._recorder.flush(self._writer)
            if taken or stop:
                self._save()
            if stop:
                raise Stopped(f"index {self._index} saved at mini-batch {self._step} of {last}")
            self._execution.progress(self._step / last)

    def _mini_batch(self, step: int) -> list[int]:
        start = time.perf_counter()
        self._losses[step - 1] = self._trainer.backward(step)
        taken = self._recorder.snapshots_at(step)
        spent = self._snapshot(step, taken) if taken else 0.0
        self._trainer.update(step)
        if taken:
            self._recorder.losses(self._losses, step)
        # Without a snapshot nothing is waited for: on a GPU the next mini-batch is prepared meanwhile, and
        # the seconds of an interval are right when its snapshot has synchronized.
        self._recorder.seconds[self._recorder.interval_of(step), 0] += time.perf_counter() - start - spent
        self._step = step
        return taken

    def _snapshot(self, step: int, taken: list[int]) -> float:
        recorder, source = self._recorder, self._data.source
        before = clock(self._device)
        for k in taken:
            recorder.record(k)
        recorded = clock(self._device)
        accuracy, loss = loop.evaluate(
            self._trainer.network,
            self._data,
            source.validation_images,
            source.validation_labels,
            self._experiment.settings(TrainingConfig).batch_size,
        )
        recorder.curve(step, "validation_accuracy", accuracy)
        recorder.curve(step, "validation_loss", loss)
        recorder.curve(step, "written", 1.0)
        validated = clock(self._device)
        recorder.seconds[taken[0], 1:] += (recorded - before, validated - recorded)
        return validated - before

    def _state(self) -> dict[str, Any]:
        return super()._state() | {"losses": self._losses, "recorder": self._recorder.state()}

    def _restore(self, kept: dict[str, Any]) -> None:
        super()._restore(kept)
        self._recorder.restore(kept["recorder"])
        self._losses.copy_(kept["losses"])

    def outcome(self) -> Outcome:
        """Write everything once more and describe it.

        The rows may come from a checkpoint whose files in the store were lost since; writing the same bytes
        again costs less than wondering.
        """
        with self._execution.guard():
            self._recorder.flush(self._writer)
            digests = self._writer.digests()
        seconds = {
            activity: [round(float(s), 4) for s in self._recorder.seconds[:, column]]
            for column, activity in enumerate(schema.ACTIVITIES)
        }
        result = {
            "architecture": self._experiment.architectures[self._index],
            "diverged": diverged(self._losses),
            "mini_batches": self._step,
            "seconds": seconds,
        }
        return Outcome(digests=digests, result=result, provenance=self.provenance())


def diverged(losses: Tensor) -> bool:
    """Whether a loss is not finite: a result, not a failure (R11)."""
    return not bool(np.isfinite(losses.cpu().numpy()).all())
