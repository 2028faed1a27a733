"""Trained models on disk: weights as safetensors, and a JSON card that says what they are and vouches for them.

Nothing is unpickled. A card is checked against the done-marker of the task that wrote it, the weights against the
card, and the card's facts about the maps against those of the store that the model is to be used on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.models.errors import ModelError
from storage_schema import durable

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
CARD = "card.json"
WEIGHTS = "weights.safetensors"


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


def read_card(folder: Path, digests: Mapping[str, str]) -> dict[str, Any]:
    """Read a model's card.

    Args:
        folder: Where the model is.
        digests: Of its files, from the done-marker.

    Raises:
        ModelError: There is none, or it is not the one that was written.
    """
    content = _read(folder / CARD, digests["card"])
    card: dict[str, Any] = json.loads(content)
    if card["format"] > FORMAT:
        raise ModelError(
            f"{folder / CARD}: format {card['format']} is newer than {FORMAT}; update nap2-pipeline"
        )
    return card


def read_weights(folder: Path, card: Mapping[str, Any]) -> dict[str, Tensor]:
    """Read a model's weights, to the CPU.

    Raises:
        ModelError: They are not those that the card vouches for.
    """
    from safetensors.torch import load as from_bytes  # imports torch

    return from_bytes(_read(folder / WEIGHTS, card["weights_sha256"]))


def _read(path: Path, digest: str) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(f"{path} is not there; run the stage that trains it") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise ModelError(
            f"{path} is not the file that was written (its SHA-256 differs); restore it, or delete its "
            "done-marker and run the stage again"
        )
    return content
