"""Checkpoints: plain tensors, numbers and strings in one file, replaced atomically, loaded without unpickling code.

The file is what `torch.save` writes, sealed: torch checks no sums, and would go on from a flipped bit.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from storage_schema import sealed
from storage_schema.errors import UserError


class CheckpointError(UserError, ValueError):
    """A checkpoint of another experiment or of another device or library version, or one that is none."""


def save(path: Path, content: dict[str, Any]) -> None:
    """Replace the checkpoint."""
    body = io.BytesIO()
    torch.save(content, body)
    sealed.write(path, body.getbuffer())


def load(
    path: Path, device: torch.device, identity: str, *, discard_foreign: bool = False
) -> dict[str, Any] | None:
    """Read a checkpoint; None when there is none or it is damaged (its work is done again, to the same bits).

    Args:
        path: The checkpoint.
        device: Where its tensors go.
        identity: Of what is to be resumed.
        discard_foreign: Take a checkpoint of another identity for none: the settings or inputs changed since.

    Raises:
        CheckpointError: It belongs to another experiment, and is not discarded; or it is whole and no checkpoint.
    """
    try:
        body = sealed.read(path)
    except FileNotFoundError:
        return None
    if body is None:
        return None
    try:
        content: dict[str, Any] = torch.load(io.BytesIO(body), map_location=device, weights_only=True)
        foreign = not {"identity", "fingerprint"} <= content.keys()
    except Exception as error:
        raise CheckpointError(
            f"{path} is no checkpoint ({type(error).__name__}); delete it to start afresh"
        ) from error
    if foreign:
        raise CheckpointError(f"{path} is no checkpoint; delete it to start afresh")
    if content["identity"] != identity and discard_foreign:
        return None
    if content["identity"] != identity:
        raise CheckpointError(
            f"{path} is of experiment {content['identity']}, not {identity}; delete it to start afresh"
        )
    return content


def check_fingerprint(path: Path, found: dict[str, str], here: dict[str, str], allow_change: bool) -> None:
    """Refuse to resume on another device model or other library versions (R10).

    Raises:
        CheckpointError: They differ and `allow_change` is not given.
    """
    changed = [f"{key} {found.get(key)} -> {here[key]}" for key in here if found.get(key) != here[key]]
    if changed and not allow_change:
        raise CheckpointError(
            f"{path} was made with other versions ({'; '.join(changed)}), bits would differ; "
            "resume where it was made, or pass --allow-device-change"
        )
