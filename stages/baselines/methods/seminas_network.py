"""SemiNAS's network and its training: encoder, predictor and decoder of sequences (Luo et al. 2020).

A bidirectional LSTM reads a sequence; the mean of its outputs is the architecture, from which a perceptron predicts the
label, and a second LSTM, which attends to the first, writes the sequence again. Sizes and settings are those of White
et al. (2021). The network is so small that it is trained on the processor, with one thread: the same everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.baselines.method import Floats
from stages.baselines.methods.sequences import NOTHING, Tokens

HIDDEN: Final = 64
PERCEPTRON: Final = 16
DROPOUT: Final = 0.1
LEARNING_RATE: Final = 1e-3
WEIGHT_DECAY: Final = 1e-4
BATCH: Final = 100
LARGEST_GRADIENT: Final = 5.0
SHARE_OF_PREDICTION: Final = 0.8
"""Of the loss; the rest is that of the decoder."""

_HALF = math.sqrt(0.5)  # what keeps the variance where a layer's input is added to its output


class Encoder(nn.Module):
    """Reads sequences, and predicts from them.

    Args:
        vocabulary: Number of tokens.
    """

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, HIDDEN)
        self.dropout = nn.Dropout(DROPOUT)
        self.lstm = nn.LSTM(HIDDEN, HIDDEN, batch_first=True, bidirectional=True)
        self.project = nn.Linear(2 * HIDDEN, HIDDEN)
        self.perceptron = nn.Sequential(
            nn.Linear(HIDDEN, PERCEPTRON),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(PERCEPTRON, HIDDEN),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
        )
        self.regressor = nn.Linear(HIDDEN, 1)

    def forward(self, sequences: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return outputs (n, length, hidden), architectures (n, hidden) and predictions (n,)."""
        embedded = self.dropout(self.embedding(sequences))
        outputs = functional.normalize(embedded + self.project(self.lstm(embedded)[0]), dim=-1)
        architectures = functional.normalize(outputs.mean(dim=1), dim=-1)
        predicted = self.regressor((architectures + self.perceptron(architectures)) * _HALF)
        return outputs, architectures, predicted.squeeze(-1)


class Decoder(nn.Module):
    """Writes sequences, each token told the true ones before it.

    Args:
        vocabulary: Number of tokens.
    """

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, HIDDEN)
        self.dropout = nn.Dropout(DROPOUT)
        self.lstm = nn.LSTM(HIDDEN, HIDDEN, batch_first=True)
        self.ask = nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.mix = nn.Linear(2 * HIDDEN, HIDDEN, bias=False)
        self.tokens = nn.Linear(HIDDEN, vocabulary)

    def forward(self, sequences: Tensor, outputs: Tensor, architectures: Tensor) -> Tensor:
        """Return logits (n, length, vocabulary) of the sequences that the encoder has read."""
        before = functional.pad(sequences[:, :-1], (1, 0), value=NOTHING)
        embedded = self.dropout(self.embedding(before))
        start = architectures.unsqueeze(0)
        written = (embedded + self.lstm(embedded, (start, start))[0]) * _HALF
        weights = (self.ask(written) @ outputs.transpose(1, 2)).softmax(dim=-1)
        attended = torch.tanh(self.mix(torch.cat((weights @ outputs, written), dim=-1)))
        logits: Tensor = self.tokens((written + attended) * _HALF)
        return logits


class Network(nn.Module):
    """Encoder and decoder.

    Args:
        vocabulary: Number of tokens.
    """

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.encoder = Encoder(vocabulary)
        self.decoder = Decoder(vocabulary)

    def loss(self, sequences: Tensor, targets: Tensor) -> Tensor:
        """Return the weighted sum of squared error and negative log-likelihood, means over the batch."""
        outputs, architectures, predicted = self.encoder(sequences)
        logits = self.decoder(sequences, outputs, architectures)
        written = functional.cross_entropy(logits.flatten(0, 1), sequences.flatten())
        error = functional.mse_loss(predicted, targets)
        return SHARE_OF_PREDICTION * error + (1 - SHARE_OF_PREDICTION) * written


@dataclass(frozen=True)
class Fitted:
    """A trained network, and what its predictions are in units of labels."""

    network: Network
    mean: float
    deviation: float

    def predict(self, sequences: Tokens) -> Floats:
        """Predict (n,) labels of (n, length) sequences.

        Each is read by itself: the rounding of a product depends on the rows beside one, and so would scores.
        """
        with _one_thread(), torch.no_grad():
            found = [self.network.encoder(row)[2] for row in torch.split(torch.from_numpy(sequences), 1)]
        values = np.array([float(value) for value in found], dtype=np.float64)
        return values * self.deviation + self.mean


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """How long is trained.

    Attributes:
        first: Epochs on labelled architectures.
        second: Epochs on these and synthetic ones; 0: no such round.
        up_sampling: How often each labelled architecture is in an epoch. The published code repeats them in the
            second round only; its first round is then a hundred steps with 200 labels, and what it tells of
            synthetic architectures is little.
    """

    first: int = 50
    second: int = 50
    up_sampling: int = 10


def fit(
    sequences: Tokens, labels: Floats, synthetic: Tokens, vocabulary: int, seed: int, rounds: Rounds
) -> Fitted:
    """Train a network: first on labelled sequences, then also on others, which it has labelled itself.

    Args:
        sequences: (n, length) of labelled architectures.
        labels: (n,), in any unit; normalized by their own statistics.
        synthetic: (m, length) of others, m may be 0.
        vocabulary: Number of tokens.
        seed: Of weights, order and dropout. PyTorch's global generator is as it was afterwards.
        rounds: How long.
    """
    mean, deviation = float(labels.mean()), float(labels.std()) if np.ptp(labels) else 1.0
    known = torch.from_numpy(sequences)
    targets = torch.from_numpy(((labels - mean) / deviation).astype(np.float32))
    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = Network(vocabulary)
        often, often_targets = known.repeat(rounds.up_sampling, 1), targets.repeat(rounds.up_sampling)
        _train(network, often, often_targets, rounds.first)
        if rounds.second:
            added = torch.from_numpy(synthetic)
            guessed = _guess(network, added)
            _train(network, torch.cat((often, added)), torch.cat((often_targets, guessed)), rounds.second)
    return Fitted(network.eval(), mean, deviation)


def _train(network: Network, sequences: Tensor, targets: Tensor, epochs: int) -> None:
    """Train for some epochs, with an optimizer of their own, drawing from the global generator."""
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    network.train()
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(sequences)), BATCH):
            optimizer.zero_grad(set_to_none=True)
            network.loss(sequences[rows], targets[rows]).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
            optimizer.step()


def _guess(network: Network, sequences: Tensor) -> Tensor:
    """Label sequences by the network as it is, in normalized units."""
    network.eval()
    with torch.no_grad():
        return torch.cat([network.encoder(rows)[2] for rows in torch.split(sequences, BATCH)])


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread, so that sums are the same on every machine; then with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
