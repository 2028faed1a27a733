"""The autoencoder of feature maps (paper C.1, Tables 11 and 12; R14): parameters of convolutions, run as products.

The kernels (1, values) and (layers, 1) span their whole axis, so that each convolution is one matrix product. The
values are the same, and on a CPU it runs at the speed of the product. Parameters, their names, shapes and initial
values are those of the plain convolutions, in whose modules they are held.

Maps are (maps, feature, layer, value), best as a permuted view of memory in the order (maps, layer, feature, value),
in which both the first and the last product take them without a copy; the decoder returns such a view.
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
    """An encoder and its decoder."""

    def __init__(self, layers: int = schema.LAYER_CAP) -> None:
        """Register both, the encoder first.

        Args:
            layers: Layers of a map.
        """
        super().__init__()
        self.encoder = Encoder(layers)
        self.decoder = Decoder(layers)

    def forward(self, maps: Tensor) -> Tensor:
        """Reconstruct maps (B, 12, layers, 100)."""
        reconstruction: Tensor = self.decoder(self.encoder(maps))
        return reconstruction


class Encoder(nn.Module):
    """Turns feature maps into embeddings (Table 11); 9,169,536 parameters where maps have 65 layers."""

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
        self.conv3 = nn.Conv2d(NARROW, schema.EMBEDDING, (1, 1))
        self.norm3 = nn.BatchNorm2d(schema.EMBEDDING)

    def forward(self, maps: Tensor) -> Tensor:
        """Encode.

        Args:
            maps: (B, 12, layers, 100), float32 or float64 as the parameters.

        Returns:
            Embeddings (B, 128).

        Raises:
            ValueError: The maps have another shape.
        """
        if maps.shape[1:] != (FEATURES, self.layers, schema.VALUES):
            raise ValueError(
                f"maps are {tuple(maps.shape)}; give (maps, {FEATURES}, {self.layers}, {schema.VALUES}), "
                "or build the encoder for their number of layers"
            )
        rows = maps.permute(0, 2, 1, 3).reshape(-1, FEATURES * schema.VALUES)
        hidden = self._over_values(rows).view(WIDE, -1, self.layers, 1).transpose(0, 1).contiguous()
        hidden = _activate(self.norm1, hidden).flatten(1)
        hidden = functional.linear(hidden, self.conv2.weight.flatten(1), self.conv2.bias)
        hidden = _activate(self.norm2, hidden[..., None, None]).flatten(1)
        hidden = functional.linear(hidden, self.conv3.weight.flatten(1), self.conv3.bias)
        return _activate(self.norm3, hidden[..., None, None]).flatten(1)

    def _over_values(self, rows: Tensor) -> Tensor:
        """Run the first convolution: (B · layers, 1200) to (channels, B · layers).

        Channels come first because their rows are then moved in one piece when maps come first again. Rows of
        zeros, most of which stand for layers that an architecture does not have, give the bias: no product.
        """
        kernel, bias = self.conv1.weight.flatten(1), _bias(self.conv1)[:, None]
        found = ((rows.amax(1) != 0) | (rows.amin(1) != 0)).nonzero().squeeze(1)
        if len(found) == len(rows) or rows.requires_grad:  # the gradient of a row of zeros is not zero
            return torch.addmm(bias, kernel, rows.t())
        product = torch.addmm(bias, kernel, rows[found].t())
        return bias.expand(-1, len(rows)).index_copy(1, found, product)


class Decoder(nn.Module):
    """Turns embeddings into feature maps (Table 12); 9,169,164 parameters where maps have 65 layers."""

    def __init__(self, layers: int = schema.LAYER_CAP) -> None:
        """Register three transposed convolutions, each but the last followed by its BatchNorm.

        Args:
            layers: Layers of a map.
        """
        super().__init__()
        self.layers = layers
        self.conv1 = nn.ConvTranspose2d(schema.EMBEDDING, NARROW, (1, 1))
        self.norm1 = nn.BatchNorm2d(NARROW)
        self.conv2 = nn.ConvTranspose2d(NARROW, WIDE, (layers, 1))
        self.norm2 = nn.BatchNorm2d(WIDE)
        self.conv3 = nn.ConvTranspose2d(WIDE, FEATURES, (1, schema.VALUES))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Decode.

        Args:
            embeddings: (B, 128).

        Returns:
            Maps (B, 12, layers, 100), a permuted view of (B, layers, 12, 100).
        """
        hidden = torch.addmm(_bias(self.conv1), embeddings, self.conv1.weight.flatten(1))
        hidden = _activate(self.norm1, hidden[..., None, None]).flatten(1)
        hidden = torch.mm(hidden, self.conv2.weight.flatten(1)).view(-1, WIDE, self.layers, 1)
        hidden = _activate(self.norm2, hidden + _bias(self.conv2)[:, None, None])
        columns = hidden.transpose(0, 1).flatten(1)  # channels first, as in the encoder
        bias = _bias(self.conv3).repeat_interleave(schema.VALUES)
        rows = torch.addmm(bias, columns.t(), self.conv3.weight.flatten(1))
        return rows.view(-1, self.layers, FEATURES, schema.VALUES).permute(0, 2, 1, 3)


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """Sum the squared differences over everything in a batch (paper eq. 18, C.1.4; R15).

    Args:
        output: (B, 12, layers, 100), as the decoder returns it.
        target: The same.

    Returns:
        A scalar.
    """
    # In the order of memory, in which the gradient has to be.
    return functional.mse_loss(output.transpose(1, 2), target.transpose(1, 2), reduction="sum")


def _activate(norm: nn.BatchNorm2d, hidden: Tensor) -> Tensor:
    """Normalize (B, channels, positions, 1) and rectify."""
    return functional.relu_(norm(hidden))


def _bias(convolution: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    assert convolution.bias is not None  # all are made with one
    return convolution.bias
