"""The autoencoder of feature maps (paper C.1, Tables 11 and 12; SPEC R14): parameters of convolutions, run as products.

The kernels (1, 100) and (layers, 1) span their whole axis, so each convolution is one matrix product, of the same
numbers, and several times faster on a CPU. Three layouts make every operand a view: maps lie in memory as
(maps, layer, feature, value), hidden values as (maps, layer, channel), and the weights of the (layers, 1) kernels
as (·, layer, 1, ·). Other layouts give the same values, after a copy.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from storage_schema import schema

FEATURES: Final = len(schema.FEATURES)
WIDE: Final = 512
NARROW: Final = 256


class Autoencoder(nn.Module):
    """Encoder and decoder in sequence."""

    def __init__(self, layers: int = schema.LAYER_CAP) -> None:
        """Register the encoder, then the decoder.

        Args:
            layers: Layers of a map.
        """
        super().__init__()
        self.encoder = Encoder(layers)
        self.decoder = Decoder(layers)

    def forward(self, maps: Tensor) -> Tensor:
        """Reconstruct maps (B, features, layers, values); the result is of the same shape."""
        reconstruction: Tensor = self.decoder(self.encoder(maps))
        return reconstruction


class Encoder(nn.Module):
    """Maps feature maps to embeddings; 9,169,536 parameters with 65 layers (Table 11)."""

    def __init__(self, layers: int = schema.LAYER_CAP) -> None:
        """Register three convolutions, each followed by its BatchNorm.

        Args:
            layers: Layers of a map.
        """
        super().__init__()
        self.layers = layers
        self.conv1 = nn.Conv2d(FEATURES, WIDE, (1, schema.VALUES))
        self.norm1 = nn.BatchNorm2d(WIDE)
        self.conv2 = nn.Conv2d(WIDE, NARROW, (layers, 1))
        self.norm2 = nn.BatchNorm2d(NARROW)
        self.conv3 = nn.Conv2d(NARROW, schema.EMBEDDING, 1)
        self.norm3 = nn.BatchNorm2d(schema.EMBEDDING)

    def forward(self, maps: Tensor) -> Tensor:
        """Encode.

        Args:
            maps: (B, features, layers, values), best as a permuted view of (B, layers, features, values).

        Returns:
            Embeddings (B, 128).

        Raises:
            ValueError: The maps have another shape.
        """
        if maps.shape[1:] != (FEATURES, self.layers, schema.VALUES):
            raise ValueError(
                f"maps {tuple(maps.shape)}: (maps, {FEATURES}, {self.layers}, {schema.VALUES}) is needed"
            )
        rows = maps.permute(0, 2, 1, 3).reshape(-1, FEATURES * schema.VALUES)
        hidden = torch.addmm(self.conv1.bias[:, None], self.conv1.weight.flatten(1), rows.t())
        hidden = hidden.view(WIDE, -1, self.layers, 1).transpose(0, 1)
        hidden = _activate(self.norm1, hidden.contiguous())
        hidden = functional.linear(hidden.flatten(1), self.conv2.weight.flatten(1), self.conv2.bias)
        hidden = _activate(self.norm2, hidden[..., None, None]).flatten(1)
        hidden = functional.linear(hidden, self.conv3.weight.flatten(1), self.conv3.bias)
        return _activate(self.norm3, hidden[..., None, None]).flatten(1)


class Decoder(nn.Module):
    """Maps embeddings to feature maps; 9,169,164 parameters with 65 layers (Table 12)."""

    def __init__(self, layers: int = schema.LAYER_CAP) -> None:
        """Register three transposed convolutions, all but the last followed by their BatchNorm.

        Args:
            layers: Layers of a map.
        """
        super().__init__()
        self.layers = layers
        self.conv1 = nn.ConvTranspose2d(schema.EMBEDDING, NARROW, 1)
        self.norm1 = nn.BatchNorm2d(NARROW)
        self.conv2 = nn.ConvTranspose2d(NARROW, WIDE, (layers, 1))
        self.norm2 = nn.BatchNorm2d(WIDE)
        self.conv3 = nn.ConvTranspose2d(WIDE, FEATURES, (1, schema.VALUES))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Decode.

        Args:
            embeddings: (B, 128).

        Returns:
            Maps (B, features, layers, values), a permuted view of (B, layers, features, values).
        """
        hidden = functional.linear(embeddings, self.conv1.weight.flatten(1).t(), self.conv1.bias)
        hidden = _activate(self.norm1, hidden[..., None, None]).flatten(1)
        hidden = torch.mm(hidden, self.conv2.weight.flatten(1)).view(-1, WIDE, self.layers, 1)
        hidden = _activate(self.norm2, hidden + self.conv2.bias[:, None, None])
        bias = self.conv3.bias.repeat_interleave(schema.VALUES)
        rows = torch.addmm(bias, hidden.transpose(0, 1).flatten(1).t(), self.conv3.weight.flatten(1))
        return rows.view(len(embeddings), self.layers, FEATURES, schema.VALUES).permute(0, 2, 1, 3)


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return the sum over a batch of all squared differences (paper eq. 18; SPEC R15)."""
    return functional.mse_loss(output.transpose(1, 2), target.transpose(1, 2), reduction="sum")


def _activate(norm: nn.BatchNorm2d, hidden: Tensor) -> Tensor:
    """Normalize and rectify."""
    return functional.relu_(norm(hidden))
