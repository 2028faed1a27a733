"""The autoencoder as the paper's Tables 11 and 12 list it, in plain convolutions: what the product is compared with."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def plain_encoder(layers: int = 65) -> nn.Sequential:
    """Maps (B, 12, layers, 100) to (B, 128, 1, 1)."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(12, 512, (1, 100)),
            norm1=nn.BatchNorm2d(512),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(512, 256, (layers, 1)),
            norm2=nn.BatchNorm2d(256),
            relu2=nn.ReLU(),
            conv3=nn.Conv2d(256, 128, (1, 1)),
            norm3=nn.BatchNorm2d(128),
            relu3=nn.ReLU(),
        )
    )


def plain_decoder(layers: int = 65) -> nn.Sequential:
    """Maps (B, 128, 1, 1) to (B, 12, layers, 100)."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.ConvTranspose2d(128, 256, (1, 1)),
            norm1=nn.BatchNorm2d(256),
            relu1=nn.ReLU(),
            conv2=nn.ConvTranspose2d(256, 512, (layers, 1)),
            norm2=nn.BatchNorm2d(512),
            relu2=nn.ReLU(),
            conv3=nn.ConvTranspose2d(512, 12, (1, 100)),
        )
    )


def plain_autoencoder(layers: int = 65) -> nn.Sequential:
    """Encoder, then decoder."""
    return nn.Sequential(OrderedDict(encoder=plain_encoder(layers), decoder=plain_decoder(layers)))
