"""Trained models on disk: weights as safetensors, and a JSON card that says what they are and vouches for them.

Nothing is unpickled. A card is checked against the done-marker of the task that wrote it, the weights against the
card, and the card's facts about the maps against those of the store that the model is to be used on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from stages.nap2.models.errors import ModelError
from storage_schema import documents, durable

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMAT = 1
CARD = "card.json"
WEIGHTS = "weights.safetensors"
MOST_BYTES = 2 * 2**30
DTYPES = ("float32", "float64")
MOST_LAYERS = 1000


class Card(TypedDict):
    """What is read of a card; it says more."""

    format: int
    weights_sha256: str
    dtype: str
    schema_version: int
    features: list[str]
    layer_cap: int


def save(folder: Path, weights: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a model's two files, the card last.

    Args:
        folder: Where they go.
        weights: The network's state.
        facts: What the card says besides format and digest.
    """
    from safetensors.torch import save as to_bytes  # imports torch

    content = to_bytes({name: t.detach().cpu().contiguous() for name, t in weights.items()})
    durable.write(folder / WEIGHTS, content)
    card = {"format": FORMAT, "weights_sha256": hashlib.sha256(content).hexdigest(), **facts}
    durable.write_json(folder / CARD, card)


def files(folder: Path) -> dict[str, Path]:
    """Return a model's files, by the names of their digests in a marker."""
    return {"card": folder / CARD, "weights": folder / WEIGHTS}


def read_card(folder: Path, digests: Mapping[str, str]) -> Card:
    """Read a model's card.

    Args:
        folder: Where the model is.
        digests: Of its files, from the done-marker.

    Raises:
        ModelError: There is none, or it is not the one that was written, or says what cannot be.
    """
    content = _read(folder / CARD, digests.get("card"))
    try:
        card: Card = documents.parse(content, Card)
    except ValueError as error:
        raise ModelError(
            f"{folder / CARD} is no card ({error}); run the stage that trains it again"
        ) from error
    if card["dtype"] not in DTYPES or not 1 <= card["layer_cap"] <= MOST_LAYERS:
        raise ModelError(
            f"{folder / CARD}: dtype {card['dtype'][:40]!r} or layer_cap {card['layer_cap']} cannot be; "
            "run the stage that trains it again"
        )
    if card["format"] > FORMAT:
        raise ModelError(
            f"{folder / CARD}: format {card['format']} is newer than {FORMAT}; update nap2-pipeline"
        )
    return card


def read_weights(folder: Path, card: Card, network: nn.Module) -> None:
    """Read a model's weights into its network.

    Raises:
        ModelError: They are not those that the card vouches for, or not the network's.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes  # imports torch

    content = _read(folder / WEIGHTS, card["weights_sha256"])
    try:
        network.load_state_dict(from_bytes(content))
    except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError, MemoryError) as error:
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(
            f"{folder / WEIGHTS} does not hold this network ({line}); run the stage that trains it again"
        ) from error


def _read(path: Path, digest: str | None) -> bytes:
    try:
        content = documents.read_bytes(path, MOST_BYTES)
    except FileNotFoundError as error:
        raise ModelError(f"{path} is not there; run the stage that trains it") from error
    except documents.DocumentError as error:
        raise ModelError(f"{path}: {error}; restore it") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise ModelError(
            f"{path} is not the file that was written (its SHA-256 differs); restore it, or delete its "
            "done-marker and run the stage again"
        )
    return content
