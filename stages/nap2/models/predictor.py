"""The predictor: a bidirectional GRU over embeddings, attention, two dense layers (paper C.2, Table 13; SPEC R16).

Only steps that exist are computed. On a CPU the recurrence has its own backward: what is known without the
gradient is computed for all steps at once, so that little is left for the loop over steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
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
        run = recur_on_cpu if sequences.device.type == "cpu" else recur_packed
        return run(self.gru, sequences, lengths)


def recur_packed(gru: nn.GRU, sequences: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Run a bidirectional GRU the usual way: best where cuDNN is, and what `recur_on_cpu` is compared with."""
    packed = rnn.pack_padded_sequence(sequences, lengths, batch_first=True, enforce_sorted=False)
    outputs, states = gru(packed)
    return rnn.pad_packed_sequence(outputs, batch_first=True)[0], torch.cat([states[-2], states[-1]], 1)


def recur_on_cpu(gru: nn.GRU, sequences: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Run a bidirectional GRU with the recurrence below; both directions take a step in one product.

    Args:
        gru: Bidirectional, with bias; in training mode its dropout is applied between its layers.
        sequences: (B, T, inputs).
        lengths: (B,), each 1 … T.

    Returns:
        Outputs (B, longest, 2·hidden), zero from a sequence's length on, and the last layer's last states
        (B, 2·hidden), forward then backward.
    """
    steps = Steps.of(lengths)
    longest = len(steps.sizes)
    x = sequences[:, :longest].reshape(-1, sequences.shape[2])[steps.rows]
    for layer in range(gru.num_layers):
        if layer:
            x = functional.dropout(x, gru.dropout, gru.training)
        states = _run_layer(gru, layer, x, steps)
        x = torch.cat([states[0], states[1][steps.mirror]], 1)
    outputs = x.new_zeros(len(lengths) * longest, x.shape[1]).index_copy(0, steps.rows, x)
    last = torch.cat([states[0][steps.last], states[1][steps.last]], 1)
    return outputs.view(len(lengths), longest, -1), last


def _run_layer(gru: nn.GRU, layer: int, x: Tensor, steps: Steps) -> Tensor:
    """Return the states (2, rows, hidden); the backward direction's in the order in which it reads."""
    forward, backward = gru.all_weights[2 * layer : 2 * layer + 2]
    gates = [
        functional.linear(inputs, direction[0], direction[2])
        for inputs, direction in ((x, forward), (x[steps.mirror], backward))
    ]
    weight, bias = torch.stack([forward[1], backward[1]]), torch.stack([forward[3], backward[3]])
    states: Tensor = _Recurrence.apply(  # type: ignore[no-untyped-call]
        torch.stack(gates), weight, bias, steps.sizes
    )
    return states


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The steps of a batch of sequences in the order of computation: the first of each, the second of each, so on.

    At each step longer sequences come first, so that those which have a next step are its first rows. Read from their
    ends, as many sequences have a given step, so both directions run side by side.

    Attributes:
        sizes: How many sequences have a first step, a second, and so on.
        rows: (R,) where each step is in the batch flattened to (B · longest, …).
        mirror: (R,) position, in this order, of the step as far from its sequence's other end.
        last: (B,) position of each sequence's last step.
    """

    sizes: tuple[int, ...]
    rows: Tensor
    mirror: Tensor
    last: Tensor

    @classmethod
    def of(cls, lengths: Tensor) -> Steps:
        """Order the steps of sequences of these lengths (B,), all at least 1."""
        ranked, sequence = lengths.sort(descending=True, stable=True)
        longest = int(ranked[0])
        step, rank = (torch.arange(longest).unsqueeze(1) < ranked).nonzero(as_tuple=True)
        sizes = step.bincount()
        starts = sizes.cumsum(0) - sizes
        return cls(
            sizes=tuple(sizes.tolist()),
            rows=sequence[rank] * longest + step,
            mirror=starts[ranked[rank] - 1 - step] + rank,
            last=(starts[ranked - 1] + torch.arange(len(ranked)))[sequence.argsort()],
        )


class _Recurrence(torch.autograd.Function):
    """Both directions of a GRU layer, from its input's share of the gates; PyTorch's formulas and gate order.

    With reset r, update z, candidate n, and s the state before: n = tanh(input + r · hidden), state = n + z (s - n),
    where `hidden` is the state's share, bias included.
    """

    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor, bias: Tensor, sizes: tuple[int, ...]) -> Tensor:
        """Run the steps.

        Args:
            ctx: What backward needs.
            gates: The input's share (2, R, 3·hidden), bias included.
            weight: Recurrent weights (2, 3·hidden, hidden).
            bias: Recurrent biases (2, 3·hidden).
            sizes: Rows of each step; they sum to R.

        Returns:
            States (2, R, hidden).
        """
        width = weight.shape[2]
        inner = bias.unsqueeze(1).repeat(1, gates.shape[1], 1)  # becomes r, z and hidden
        inner[..., : 2 * width] += gates[..., : 2 * width]
        n, states = (gates.new_empty(2, gates.shape[1], width) for _ in range(2))
        tensors = (inner, inner[..., : 2 * width], *inner.chunk(3, 2), gates[..., 2 * width :], n, states)
        steps = zip(*(t.split_with_sizes(sizes, 1) for t in tensors), strict=True)
        transposed, state = weight.mT.contiguous(), gates.new_zeros(2, sizes[0], width)
        for whole, r_z, r, z, hidden, given, candidate, after in steps:
            before = state[:, : whole.shape[1]]
            whole.baddbmm_(before, transposed)
            r_z.sigmoid_()
            torch.addcmul(given, r, hidden, out=candidate).tanh_()
            state = torch.lerp(candidate, before, z, out=after)
        ctx.save_for_backward(weight, inner, n, states)
        ctx.sizes = sizes
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Run the steps back; only what depends on the gradient of later steps is in the loop."""
        weight, inner, n, states = ctx.saved_tensors
        sizes, width = ctx.sizes, weight.shape[2]
        r, z, hidden = inner.chunk(3, 2)
        ended = states.split_with_sizes(sizes, 1)[:-1]
        carried = [state[:, :size] for state, size in zip(ended, sizes[1:], strict=True)]
        before = torch.cat([states.new_zeros(2, sizes[0], width), *carried], 1)
        slope = (1 - z) * (1 - n * n)
        slopes = torch.stack([slope * hidden * r * (1 - r), (before - n) * z * (1 - z), slope * r], 2)
        grad, grads = grad.clone(), torch.empty_like(slopes)
        parts = [t.split_with_sizes(sizes, 1) for t in (grad, grads, slopes, z)]
        for k in range(len(sizes) - 1, -1, -1):
            d, d_gates, by, kept = (part[k] for part in parts)
            torch.mul(d.unsqueeze(2), by, out=d_gates)
            if k:
                d_before = parts[0][k - 1][:, : sizes[k]]
                d_before.addcmul_(d, kept).baddbmm_(d_gates.flatten(2), weight)
        d_inner = grads.flatten(2)
        d_weight, d_bias = torch.bmm(d_inner.mT, before), d_inner.sum(1)
        d_given = torch.cat([d_inner[..., : 2 * width], grad * slope], 2)
        return d_given, d_weight, d_bias, None
