"""The predictor: a bidirectional GRU over embeddings, attention, two dense layers (paper C.2, Table 13; R16).

Sequences are packed, so only steps that exist are computed.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import rnn

from storage_schema import schema

HIDDEN: Final = 128
LAYERS: Final = 2
DENSE: Final = 128
DROPOUT: Final = 0.1


class Predictor(nn.Module):
    """Maps embedding sequences to accuracies, fractions; 658,946 parameters.

    Its parameters, names and initial values are those of PyTorch's own modules.
    """

    def __init__(self, inputs: int = schema.EMBEDDING * len(schema.KINDS)) -> None:
        """Register GRU, attention and dense layers.

        Args:
            inputs: Components of an embedding, both kinds together.
        """
        super().__init__()
        self.gru = nn.GRU(inputs, HIDDEN, LAYERS, batch_first=True, dropout=DROPOUT, bidirectional=True)
        self.attention = nn.Linear(2 * HIDDEN, 1)
        self.dropout = nn.Dropout(DROPOUT)
        self.dense1 = nn.Linear(4 * HIDDEN, DENSE)
        self.dense2 = nn.Linear(DENSE, 1)

    def forward(self, sequences: Tensor, lengths: Tensor) -> Tensor:
        """Predict (paper eq. 19-24).

        Args:
            sequences: (B, T, inputs); steps from a sequence's length on are never read.
            lengths: (B,) int64 on the CPU, each 1 … T.

        Returns:
            Accuracies (B,).

        Raises:
            ValueError: A length outside 1 … T, or not one for each sequence.
        """
        outputs, last = self._recur(sequences, lengths)
        context = torch.bmm(self._attend(outputs, lengths).unsqueeze(1), outputs).squeeze(1)
        pooled = self.dropout(torch.cat([last, context], 1))
        return torch.sigmoid(self.dense2(functional.relu(self.dense1(pooled)))).squeeze(1)

    def attention_weights(self, sequences: Tensor, lengths: Tensor) -> Tensor:
        """Return how much each step counts (B, T); zero from a sequence's length on (paper eq. 21).

        Takes and raises what `forward` does.
        """
        outputs, _ = self._recur(sequences, lengths)
        weights = self._attend(outputs, lengths)
        return functional.pad(weights, (0, sequences.shape[1] - weights.shape[1]))

    def _attend(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        scores: Tensor = self.attention(outputs).squeeze(2)
        steps = torch.arange(outputs.shape[1], device=outputs.device)
        padding = steps >= lengths.to(outputs.device).unsqueeze(1)
        return scores.masked_fill(padding, float("-inf")).softmax(1)

    def _recur(self, sequences: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Run the GRU.

        Returns:
            Outputs (B, longest, 2·HIDDEN), zero from a sequence's length on, and the last states
            (B, 2·HIDDEN), forward then backward (paper eq. 20).
        """
        if (
            lengths.shape != sequences.shape[:1]
            or not 1 <= int(lengths.min()) <= int(lengths.max()) <= sequences.shape[1]
        ):
            raise ValueError(
                f"lengths {lengths.tolist()} for sequences {tuple(sequences.shape)}: one in 1 … "
                f"{sequences.shape[1]} is needed for each of the {len(sequences)}"
            )
        packed = rnn.pack_padded_sequence(sequences, lengths, batch_first=True, enforce_sorted=False)
        outputs, states = self.gru(packed)
        return rnn.pad_packed_sequence(outputs, batch_first=True)[0], torch.cat([states[-2], states[-1]], 1)
