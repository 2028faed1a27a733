"""Side by side: a training epoch of the predictor as this project runs it and one GRU call for each length in a batch.

Sequences of 700 architectures, lengths 1 to 23, are drawn in batches of 32 as in training (R16). A batch has
some 17 different lengths; without packing, each is a call of its own. Both have the same parameters and optimizer, on
one thread, with training's determinism flags; times are of the processor, so other jobs on the machine count little.
Some batches of the epoch are run, by both in turn.

Run from the repository's root: `PYTHONPATH=.:tests python tests/benchmarks/bench_predictor.py`.
"""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor
from torch.nn import functional

from stages.nap2.models.predictor import Predictor
from stages.training.determinism import make_deterministic

ARCHITECTURES, SNAPSHOTS, COMPONENTS = 700, 23, 256
BATCH = 32
BATCHES = 24
"""Of an epoch that are run."""


class ByLength(Predictor):
    """Predicts without packing: one call for the sequences of each length."""

    def forward(self, sequences: Tensor, lengths: Tensor) -> Tensor:
        """Predict."""
        found = torch.empty(len(lengths))
        for length in lengths.unique().tolist():
            rows = (lengths == length).nonzero().squeeze(1)
            outputs, states = self.gru(sequences[rows, :length])
            weights = self.attention(outputs).softmax(1)
            pooled = torch.cat([states[-2], states[-1], (weights * outputs).sum(1)], 1)
            hidden = functional.relu(self.dense1(self.dropout(pooled)))
            found = found.index_put((rows,), torch.sigmoid(self.dense2(hidden)).squeeze(1))
        return found


class Training:
    """One way of training."""

    def __init__(self, network: Predictor) -> None:
        self.network = network
        self.optimizer = torch.optim.Adam(network.parameters(), fused=True)
        self.seconds: list[float] = []

    def step(self, sequences: Tensor, lengths: Tensor, labels: Tensor) -> None:
        """Run and time one batch."""
        start = time.process_time()
        self.optimizer.zero_grad()
        functional.l1_loss(self.network(sequences, lengths), labels).backward()
        self.optimizer.step()
        self.seconds.append(time.process_time() - start)


def main() -> None:
    """Measure and print."""
    make_deterministic(1)
    torch.manual_seed(0)
    embeddings, labels = torch.rand(ARCHITECTURES, SNAPSHOTS, COMPONENTS), torch.rand(ARCHITECTURES)
    order = torch.randperm(ARCHITECTURES * SNAPSHOTS)
    networks = {"by length": ByLength(), "ours": Predictor()}
    trainings = {name: Training(network) for name, network in networks.items()}
    for number in range(1 + BATCHES):  # the first warms up
        chosen = order[number * BATCH : (number + 1) * BATCH]
        rows, lengths = chosen // SNAPSHOTS, 1 + chosen % SNAPSHOTS
        for training in trainings.values():
            training.step(embeddings[rows, : int(lengths.max())], lengths, labels[rows])
    per_epoch = math.ceil(len(order) / BATCH)
    epochs = {name: per_epoch * sum(each.seconds[1:]) / BATCHES for name, each in trainings.items()}
    for name, found in epochs.items():
        print(
            f"predictor, epoch of {len(order)} sequences, {name}: {found:.1f} s   {epochs['by length'] / found:.1f}x"
        )


if __name__ == "__main__":
    main()
