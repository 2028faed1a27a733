"""Every path of an experiment directory, once."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_POSITION: Final = re.compile("[0-9]{5,9}")
_LEGIBLE: Final = 100
"""Letters of a key that its files' names show."""


def file_name(key: int | str) -> str:
    """Return the name, without suffix, of the files of one index.

    A position in a plan gives its five digits. Any other key gives what a file system takes of it and a hash of all
    of it: so keys differ in name that differ in capitals, accents, spaces or beyond the letters shown, on whatever
    file system.

    Args:
        key: A position in the plan, also as its five digits, or what the index is, as in `maps/0/700`.
    """
    if isinstance(key, int):
        return f"{key:05d}"
    if _POSITION.fullmatch(key):
        return key
    legible = re.sub("[^A-Za-z0-9+]+", "-", key)[:_LEGIBLE].strip("-")
    return f"{legible}-{hashlib.sha256(key.encode()).hexdigest()[:12]}".lstrip("-")


@dataclass(frozen=True)
class Layout:
    """Where the files of the experiment in `root` are."""

    root: Path

    @property
    def config(self) -> Path:
        """Everything that decides a result, spelled out."""
        return self.root / "experiment.toml"

    @property
    def plan(self) -> Path:
        """Index, architecture and (where known beforehand) label."""
        return self.root / "plan.csv"

    @property
    def identity(self) -> Path:
        """Hash of the scientific settings and the plan, and the schema's version."""
        return self.root / "identity.json"

    @property
    def dynamics(self) -> Path:
        """The Zarr store of training dynamics."""
        return self.root / "dynamics.zarr"

    @property
    def zero_cost(self) -> Path:
        """The Zarr store of zero-cost proxies."""
        return self.root / "zero_cost.zarr"

    @property
    def labels(self) -> Path:
        """The gathered labels."""
        return self.root / "labels.csv"

    def split(self, trial: int) -> Path:
        """The folder of one trial's train_files.json, val_files.json and test_files.json (R19)."""
        return self.root / "splits" / f"trial-{trial:02d}"

    @property
    def split_sample(self) -> Path:
        """Which architectures are split, with their labels: those that are finished."""
        return self.root / "splits" / "architectures.json"

    @property
    def split_report(self) -> Path:
        """Protocol, twins and accuracy histogram of the splits."""
        return self.root / "splits" / "report.json"

    def model(self, key: str) -> Path:
        """The folder of one model's trained parts; `key` is variant, trial and train size."""
        return self.root / "models" / key

    def embeddings(self, key: str) -> Path:
        """The Zarr store of the embeddings that one model's encoders give."""
        return self.root / "embeddings" / f"{key}.zarr"

    def scores(self, source: str, trial: int) -> Path:
        """The Zarr store of every method's scores in one trial; `source` is where the models come from."""
        return self.root / "evaluation" / source / f"trial-{trial:02d}.zarr"

    def evaluation(self, source: str) -> Path:
        """The folder of tables and pictures of models from one source."""
        return self.root / "evaluation" / source

    def marker(self, stage: str, key: int | str) -> Path:
        """The done-marker of one index of a stage; `key` is what the index is (see `file_name`)."""
        return self.root / "markers" / stage / f"{file_name(key)}.json"

    def markers(self, stage: str) -> Path:
        """The folder of a stage's done-markers."""
        return self.root / "markers" / stage

    def shared(self, stage: str) -> Path:
        """The marker of what the indices of a stage share: made before them, or gathered from them."""
        return self.root / "markers" / stage / "shared.json"

    def checkpoint(self, stage: str, key: int | str) -> Path:
        """The state to resume one index of a stage from; gone once it is done."""
        return self.root / "checkpoints" / stage / f"{file_name(key)}.pt"

    def lease(self, stage: str, key: int | str) -> Path:
        """Who works on one index of a stage; gone once it is done."""
        return self.root / "leases" / stage / f"{file_name(key)}.json"

    def lease_lock(self, stage: str) -> Path:
        """The file of which a byte is locked while a lease is read and changed; it keeps the leases' numbers."""
        return self.root / "leases" / f"{stage}.lock"

    def failure(self, stage: str, key: int | str) -> Path:
        """The last error of one index of a stage; gone once it is done."""
        return self.root / "failures" / stage / f"{file_name(key)}.json"

    @property
    def submissions(self) -> Path:
        """The folder of what was submitted to a cluster: ledger, scripts, logs and the code that runs."""
        return self.root / "slurm"
