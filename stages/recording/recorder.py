"""What one execution of `collect` has gathered so far, in memory, and how it gets to the store and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stages.recording.config import RecordingConfig
from stages.recording.statistics import StatisticsPlan, statistics
from stages.search_spaces.build import layer_weights
from storage_schema import schema
from storage_schema.write import ArchitectureWriter


class Recorder:
    """Statistics, curves and seconds of one architecture.

    Attributes:
        maps: By kind, float32 (snapshots, most layers of the space, 100, 12), NaN where nothing is.
        curves: float32 (mini-batches, curves).
        seconds: float64 (snapshots, activities), since the snapshot before.
    """

    def __init__(self, network: nn.Module, config: RecordingConfig, most_layers: int) -> None:
        self._weights = layer_weights(network)
        self._plan = StatisticsPlan.of(self._weights)
        self._steps = config.steps
        snapshots = len(config.steps)
        shape = (snapshots, most_layers, schema.VALUES, len(schema.FEATURES))
        self.maps = {kind: np.full(shape, np.nan, np.float32) for kind in schema.KINDS}
        self.curves = np.full((config.mini_batches, len(schema.CURVES)), np.nan, np.float32)
        self.seconds = np.zeros((snapshots, len(schema.ACTIVITIES)))

    def snapshots_at(self, step: int) -> list[int]:
        """Return the snapshots that are taken at a mini-batch: none, one, or two where the interval is 1."""
        return [k for k, at in enumerate(self._steps) if at == step]

    def interval_of(self, step: int) -> int:
        """Return the snapshot to which the seconds of a mini-batch count: the next one due."""
        return next(k for k, at in enumerate(self._steps) if step <= at)

    def record(self, snapshot: int) -> None:
        """Keep the statistics of weights and gradients as they are now (R3: after backward, before the step)."""
        gradients = [weight.grad for weight in self._weights]
        assert all(gradient is not None for gradient in gradients)
        self._keep("weights", snapshot, [weight.detach() for weight in self._weights])
        self._keep("gradients", snapshot, [gradient for gradient in gradients if gradient is not None])

    def _keep(self, kind: str, snapshot: int, tensors: Sequence[Tensor]) -> None:
        rows = statistics(tensors, self._plan).to(torch.float32).cpu().numpy()
        self.maps[kind][snapshot, : len(rows)] = rows

    def curve(self, step: int, name: str, value: float) -> None:
        """Keep a point of a curve."""
        self.curves[step - 1, schema.CURVES.index(name)] = value

    def losses(self, losses: Tensor, step: int) -> None:
        """Keep the training losses of the mini-batches up to `step`."""
        self.curves[:step, schema.CURVES.index("training_loss")] = losses[:step].cpu().numpy()

    def flush(self, writer: ArchitectureWriter) -> None:
        """Write everything; the curves come last, as they say what of the maps is written."""
        for kind, rows in self.maps.items():
            writer.write(kind, rows)
        writer.write("curves", self.curves)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: all rows, so that resuming depends on no other file."""
        layers = len(self._plan.shapes)
        maps = {kind: torch.from_numpy(rows[:, :layers].copy()) for kind, rows in self.maps.items()}
        curves, seconds = torch.from_numpy(self.curves.copy()), torch.from_numpy(self.seconds.copy())
        return {"maps": maps, "curves": curves, "seconds": seconds}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a checkpoint's state."""
        for kind, rows in state["maps"].items():
            self.maps[kind][:, : rows.shape[1]] = rows.cpu().numpy()
        self.curves[...] = state["curves"].cpu().numpy()
        self.seconds[...] = state["seconds"].cpu().numpy()
