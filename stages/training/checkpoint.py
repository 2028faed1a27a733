"""Checkpoints: plain tensors, numbers and strings in one file, replaced atomically, loaded without unpickling code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from storage_schema import durable
from storage_schema.errors import UserError


class CheckpointError(UserError, ValueError):
    """A checkpoint of another experiment or of another device or library version."""


def save(path: Path, content: dict[str, Any]) -> None:
    """Replace the checkpoint."""
    durable.write(path, lambda file: torch.save(content, file))


def load(path: Path, device: torch.device, identity: str) -> dict[str, Any] | None:
    """Read a checkpoint; None when there is none or it is damaged (its work is done again, to the same bits).

    Raises:
        CheckpointError: It belongs to another experiment.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        found = content["identity"]
    except FileNotFoundError:
        return None
    except (RuntimeError, OSError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError):
        return None
    if found != identity:
        raise CheckpointError(f"{path} is of experiment {found}, not {identity}; delete it to start afresh")
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
