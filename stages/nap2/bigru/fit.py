"""Training of one predictor; resumable at any batch (R16; paper C.2.4)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from stages.experiment import Experiment
from stages.nap2.models.config import BigruConfig
from stages.nap2.models.errors import LossError
from stages.nap2.models.predictor import Predictor
from stages.stage import Execution, Stopped
from stages.training.order import generator
from stages.training.resumable import Resumable

CHECKPOINT_SECONDS = 60.0
"""Between saves: what is done since the last one is done again after a kill, to the same bits."""


class PredictorTraining(Resumable):
    """One predictor at some batch of its training.

    Args:
        experiment: The experiment.
        key: What the index is, for the checkpoint's path.
        execution: Polled at every batch.
        sequences: Embeddings of the training architectures, (architecture, snapshot, 256).
        labels: Their accuracies, fractions.
        architectures: Their indices in the plan, for messages.
        seed: Of initial weights, order and dropout (R17).
    """

    def __init__(
        self,
        experiment: Experiment,
        key: int | str,
        execution: Execution,
        sequences: NDArray[Any],
        labels: Sequence[float],
        architectures: Sequence[int],
        seed: int,
    ) -> None:
        config = experiment.settings(BigruConfig)
        super().__init__(experiment, key, execution, "bigru", config.device, config.threads)
        self._config, self._seed, self._architectures = config, seed, architectures
        dtype = getattr(torch, config.dtype)
        self._sequences = torch.from_numpy(sequences).to(self._device, dtype)
        self._labels = torch.tensor(labels, dtype=dtype, device=self._device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._network = Predictor(sequences.shape[2]).to(self._device, dtype)
        self._pairs = lengths_of(len(sequences), sequences.shape[1])
        self._per_epoch = math.ceil(len(self._pairs) / config.batch_size)
        self._optimizer = torch.optim.Adam(self._network.parameters(), fused=True)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer,
            max_lr=config.max_learning_rate,
            total_steps=config.epochs * self._per_epoch,
        )
        self._step, self._loss, self._seconds = 0, 0.0, 0.0
        self._history: list[float] = []

    def work(self) -> None:
        """Train to the last epoch.

        Raises:
            Stopped: Asked to stop; the state is saved.
            LossError: The loss is not finite.
        """
        self._network.train()
        last, saved = self._config.epochs * self._per_epoch, time.monotonic()
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            while self._step < last:
                self._batch()
                stop = self._execution.should_stop() and self._step < last
                if stop or time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self._save()
                    saved = time.monotonic()
                if stop:
                    raise Stopped(f"{self._key} saved at batch {self._step} of {last}")
                self._execution.progress(self._step / last, f"epoch {1 + self._step // self._per_epoch}")

    def weights(self) -> dict[str, Tensor]:
        """Return the predictor's state: the last epoch's is what counts (R16)."""
        return dict(self._network.state_dict())

    def result(self) -> dict[str, Any]:
        """Return losses (mean absolute error of each epoch) and seconds."""
        return {
            "epochs": len(self._history),
            "training_loss": self._history[-1],
            "sequences": len(self._pairs),
            "seconds": round(self._seconds, 2),
            "history": self._history,
        }

    def _batch(self) -> None:
        start = time.perf_counter()
        epoch, position = divmod(self._step, self._per_epoch)
        order = generator(self._seed, "bigru order", epoch).permutation(len(self._pairs))
        size = self._config.batch_size
        pairs = self._pairs[order[position * size : (position + 1) * size]]
        # Dropout draws from the global generator: it is set for each batch, so that resuming is exact.
        torch.manual_seed(int(generator(self._seed, "bigru dropout", self._step).integers(2**62)))
        self._loss += self._train(pairs, epoch, position) * len(pairs)
        self._step += 1
        self._seconds += time.perf_counter() - start
        if self._step % self._per_epoch == 0:
            self._history.append(self._loss / len(self._pairs))
            self._loss = 0.0

    def _train(self, pairs: NDArray[np.int64], epoch: int, position: int) -> float:
        rows, lengths = torch.from_numpy(pairs[:, 0]).to(self._device), torch.from_numpy(pairs[:, 1])
        sequences = self._sequences[rows, : int(lengths.max())]
        self._optimizer.zero_grad(set_to_none=True)
        loss = functional.l1_loss(self._network(sequences, lengths), self._labels[rows])
        value = float(loss.detach())
        if not math.isfinite(value):
            names = sorted({self._architectures[row] for row in pairs[:, 0]})
            raise LossError(
                f"the loss is {value} at epoch {epoch + 1}, batch {position + 1}, of architectures "
                f"{', '.join(map(str, names))}; look at their embeddings, or lower bigru.max_learning_rate"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._schedule.step()
        return value

    def _state(self) -> dict[str, Any]:
        return {
            "network": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "history": self._history,
            "step": self._step,
            "loss": self._loss,
            "seconds": self._seconds,
        }

    def _restore(self, kept: dict[str, Any]) -> None:
        self._network.load_state_dict(kept["network"])
        self._optimizer.load_state_dict(kept["optimizer"])
        self._schedule.load_state_dict(kept["schedule"])
        self._history, self._step = kept["history"], kept["step"]
        self._loss, self._seconds = kept["loss"], kept["seconds"]


def lengths_of(architectures: int, snapshots: int) -> NDArray[np.int64]:
    """Return (row, length) of every training sequence: lengths 1 … T of each architecture (R16)."""
    rows = np.repeat(np.arange(architectures), snapshots)
    return np.stack([rows, np.tile(np.arange(1, snapshots + 1), architectures)], axis=1)
