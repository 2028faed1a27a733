"""Training of one autoencoder; resumable at any batch (R15; paper C.1.4)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.experiment import Experiment
from stages.nap2.feature_maps.config import InputsConfig
from stages.nap2.feature_maps.maps import Maps, Pair, grouped
from stages.nap2.models.autoencoder import Autoencoder, reconstruction_loss
from stages.nap2.models.config import CaeConfig
from stages.nap2.models.errors import LossError
from stages.stage import Execution, Stopped
from stages.training.memory import keep_large_blocks
from stages.training.order import generator
from stages.training.resumable import Resumable

CHECKPOINT_SECONDS = 120.0
"""Between saves: what is done since the last one is done again after a kill, to the same bits."""


class AutoencoderTraining(Resumable):
    """One autoencoder at some batch of its training.

    Args:
        experiment: The experiment.
        key: What the index is, for the checkpoint's path.
        execution: Polled at every batch.
        maps: What it is trained on.
        train: Indices of the training architectures.
        validation: Indices of the validation architectures.
        seed: Of initial weights and of the order of the maps (R17).
    """

    def __init__(
        self,
        experiment: Experiment,
        key: int | str,
        execution: Execution,
        maps: Maps,
        train: Sequence[int],
        validation: Sequence[int],
        seed: int,
    ) -> None:
        config = experiment.settings(CaeConfig)
        super().__init__(
            experiment, key, execution, "cae", config.device, config.threads, config.matmul_precision
        )
        keep_large_blocks()
        self._config, self._maps, self._seed = config, maps, seed
        self._train, self._validation = maps.pairs(train), maps.pairs(validation)
        self._dtype = getattr(torch, config.dtype)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._network = Autoencoder(experiment.settings(InputsConfig).layer_cap).to(
                self._device, self._dtype
            )
        self._optimizer = torch.optim.Adam(self._network.parameters(), lr=config.learning_rate, fused=True)
        self._epoch, self._batch, self._loss, self._seconds = 0, 0, 0.0, 0.0
        self._best: dict[str, Tensor] = {}
        self.history: list[dict[str, float]] = []

    def work(self) -> None:
        """Train until the schedule or the patience ends.

        Raises:
            Stopped: Asked to stop; the state is saved.
            LossError: The loss is not finite.
        """
        self._saved = time.monotonic()
        while self._epoch < self._config.epochs and self.epochs_since_best < self._config.patience:
            self._train_epoch()
            self._validate()
            self._epoch, self._batch, self._loss = self._epoch + 1, 0, 0.0

    @property
    def best_epoch(self) -> int:
        """Epoch, from 1, with the lowest validation loss so far; 0 before the first."""
        losses = [entry["validation_loss"] for entry in self.history]
        return 0 if not losses else 1 + int(np.argmin(losses))

    @property
    def epochs_since_best(self) -> int:
        """Epochs without a better validation loss."""
        return len(self.history) - self.best_epoch

    def weights(self) -> dict[str, Tensor]:
        """Return the encoder's state of the best epoch."""
        return self._best

    def result(self) -> dict[str, Any]:
        """Return losses, per map, and seconds."""
        best = self.history[self.best_epoch - 1]
        return {
            "epochs": len(self.history),
            "best_epoch": self.best_epoch,
            "validation_loss": best["validation_loss"],
            "validation_loss_of_mean": self._loss_of_mean(),
            "maps": len(self._train),
            "validation_maps": len(self._validation),
            "seconds": round(self._seconds, 2),
            "history": self.history,
        }

    def _train_epoch(self) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._config, self._epoch)
        # Of the epoch's own generator: a resumed epoch needs no state to have the same order.
        order = generator(self._seed, "cae order", self._epoch).permutation(len(self._train))
        groups = grouped([self._train[i] for i in order], self._config.batch_size)
        self._network.train()
        start = time.perf_counter()
        for batch in self._maps.batches(groups[self._batch :]):
            self._loss += self._step(batch, groups[self._batch])
            self._batch += 1
            start = self._count(start)
            stop = self._execution.should_stop()
            if stop or time.monotonic() - self._saved > CHECKPOINT_SECONDS:
                self._save()
                self._saved = time.monotonic()
            if stop:
                raise Stopped(f"{self._key} saved at batch {self._batch} of epoch {self._epoch + 1}")
            share = (self._epoch + self._batch / len(groups)) / self._config.epochs
            self._execution.progress(share, self._note())

    def _step(self, batch: NDArray[np.float32], pairs: Sequence[Pair]) -> float:
        maps = self._tensor(batch)
        self._optimizer.zero_grad(set_to_none=True)
        loss = reconstruction_loss(self._network(maps), maps)
        value = float(loss.detach())
        if not math.isfinite(value):
            names = sorted({architecture for architecture, _ in pairs})
            raise LossError(
                f"the loss is {value} at epoch {self._epoch + 1}, batch {self._batch + 1}, of architectures "
                f"{', '.join(map(str, names))}; look at their maps (pipeline inspect), or lower "
                "cae.learning_rate"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return value

    def _validate(self) -> None:
        self._network.eval()
        start, total = time.perf_counter(), 0.0
        with torch.no_grad():
            for batch in self._maps.batches(grouped(self._validation, self._config.batch_size)):
                maps = self._tensor(batch)
                total += float(reconstruction_loss(self._network(maps), maps))
        # The loss is a sum over the maps of a batch: batches of different sizes count by their maps.
        validation_loss = total / len(self._validation)
        self.history.append(
            {
                "learning_rate": learning_rate(self._config, self._epoch),
                "training_loss": self._loss / len(self._train),
                "validation_loss": validation_loss,
            }
        )
        # The decoder is discarded, so the best epoch's encoder is all that is kept.
        if self.epochs_since_best == 0:
            state = self._network.encoder.state_dict()
            self._best = {name: value.clone() for name, value in state.items()}
        self._count(start)

    def _loss_of_mean(self) -> float:
        """Loss, per validation map, of predicting the mean of the training maps: what a code has to beat."""
        total: NDArray[np.float64] | None = None
        for batch in self._maps.batches(grouped(self._train, self._config.batch_size)):
            part = batch.sum(0, dtype=np.float64)
            total = part if total is None else total + part
        assert total is not None
        mean, loss = total / len(self._train), 0.0
        for batch in self._maps.batches(grouped(self._validation, self._config.batch_size)):
            loss += float(((batch - mean) ** 2).sum())
        return loss / len(self._validation)

    def _tensor(self, batch: NDArray[np.float32]) -> Tensor:
        """Move a batch (maps, layer, feature, value) to the device, as (maps, feature, layer, value)."""
        return torch.from_numpy(batch).to(self._device, self._dtype).permute(0, 2, 1, 3)

    def _count(self, start: float) -> float:
        now = time.perf_counter()
        self._seconds += now - start
        return now

    def _note(self) -> str:
        if not self.history:
            return f"epoch {self._epoch + 1}"
        last = self.history[-1]["validation_loss"]
        return f"epoch {self._epoch + 1}, validation loss {last:.4g} a map, best epoch {self.best_epoch}"

    def _state(self) -> dict[str, Any]:
        return {
            "network": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "best": self._best,
            "history": self.history,
            "epoch": self._epoch,
            "batch": self._batch,
            "loss": self._loss,
            "seconds": self._seconds,
        }

    def _restore(self, kept: dict[str, Any]) -> None:
        self._network.load_state_dict(kept["network"])
        self._optimizer.load_state_dict(kept["optimizer"])
        self._best, self.history = kept["best"], kept["history"]
        self._epoch, self._batch = kept["epoch"], kept["batch"]
        self._loss, self._seconds = kept["loss"], kept["seconds"]


def learning_rate(config: CaeConfig, epoch: int) -> float:
    """Return the learning rate of an epoch counted from 0: linear warm-up, then steps (R15)."""
    if epoch < config.warmup:
        return config.warmup_start + (config.learning_rate - config.warmup_start) * epoch / config.warmup
    decays = (epoch - config.warmup) // config.step_size
    return float(config.learning_rate * config.gamma**decays)
