"""The files of one trial's split, named as in the paper (D.4.2): who trains, validates and tests, with labels."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from storage_schema import documents, durable
from storage_schema.errors import UserError

TRAIN, VALIDATION, TEST = "train_files.json", "val_files.json", "test_files.json"


class _Entry(TypedDict):
    index: int
    label: float


class _Part(TypedDict):
    trial: int
    seed: int
    architectures: list[_Entry]


class _TrainPart(_Part):
    sizes: dict[str, list[int]]


class SplitFileError(UserError, ValueError):
    """A split that is not there or cannot be read."""


@dataclass(frozen=True, kw_only=True)
class SplitFiles:
    """Which architectures of the plan a trial trains, validates and tests on.

    Attributes:
        train: Indices in the plan by train size, each ascending, nested.
        labels: Accuracy (fraction) of every index of any part.
    """

    trial: int
    seed: int
    train: Mapping[str, tuple[int, ...]]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    labels: Mapping[int, float]

    def of_size(self, size: str) -> tuple[int, ...]:
        """Return the training architectures of a train size.

        Raises:
            SplitFileError: The files were drawn for other sizes.
        """
        if size not in self.train:
            raise SplitFileError(f"trial {self.trial} has no train size {size}; run --stage split again")
        return self.train[size]


def paths(folder: Path) -> dict[str, Path]:
    """Return the three files, by the names of their digests in a marker."""
    return {"train": folder / TRAIN, "validation": folder / VALIDATION, "test": folder / TEST}


def write(folder: Path, split: SplitFiles) -> None:
    """Write the three files; the order in which train sizes are asked for makes no difference."""
    durable.write_json(folder / TRAIN, _train_part(split, split.train))
    durable.write_json(folder / VALIDATION, _part(split, split.validation))
    durable.write_json(folder / TEST, _part(split, split.test))


def digests_by_size(split: SplitFiles) -> dict[str, str]:
    """Return, as `train SIZE`, SHA-256 of the file of training architectures that one size alone would have.

    What is trained at one size follows from this, whatever other sizes there are.
    """
    parts = {size: _train_part(split, [size]) for size in split.train}
    return {
        f"train {size}": hashlib.sha256(durable.as_json(part)).hexdigest() for size, part in parts.items()
    }


def read_by(size: str) -> tuple[str, ...]:
    """Return the names of the digests of what is trained at a size, and tested."""
    return (f"train {size}", "validation", "test")


def _train_part(split: SplitFiles, sizes: Iterable[str]) -> dict[str, Any]:
    ordered = sorted(sizes, key=lambda size: (len(split.train[size]), size))
    everything = tuple(sorted({i for size in ordered for i in split.train[size]}))
    part = _part(split, everything)
    return {
        "trial": part["trial"],
        "seed": part["seed"],
        "sizes": {size: list(split.train[size]) for size in ordered},
        "architectures": part["architectures"],
    }


def _part(split: SplitFiles, indices: Iterable[int]) -> dict[str, Any]:
    labelled = [{"index": i, "label": split.labels[i]} for i in indices]
    return {"trial": split.trial, "seed": split.seed, "architectures": labelled}


def read(folder: Path, architectures: int) -> SplitFiles:
    """Read the three files.

    Args:
        folder: Of the trial.
        architectures: How many the plan has.

    Raises:
        SplitFileError: One is not there or is damaged.
    """
    try:
        train = documents.load(folder / TRAIN, _TrainPart)
        validation, test = (documents.load(folder / name, _Part) for name in (VALIDATION, TEST))
        parts = [part["architectures"] for part in (train, validation, test)]
        found = SplitFiles(
            trial=train["trial"],
            seed=train["seed"],
            train={size: tuple(indices) for size, indices in train["sizes"].items()},
            validation=tuple(entry["index"] for entry in parts[1]),
            test=tuple(entry["index"] for entry in parts[2]),
            labels={entry["index"]: entry["label"] for part in parts for entry in part},
        )
        _check(found, architectures)
        return found
    except FileNotFoundError as error:
        raise SplitFileError(f"{error.filename} is not there; run --stage split") from error
    except ValueError as error:
        raise SplitFileError(
            f"{folder}: the split is damaged ({error}); delete it and its marker, then run --stage split"
        ) from error


def _check(found: SplitFiles, architectures: int) -> None:
    for index in {*found.validation, *found.test, *(i for part in found.train.values() for i in part)}:
        if not 0 <= index < architectures:
            raise documents.DocumentError(f"architecture {index} is not in the plan")
        label = found.labels.get(index, math.nan)
        if not 0 <= label <= 1:
            raise documents.DocumentError(f"architecture {index} has the label {label}")
