"""Every path of an experiment directory, once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
    def labels(self) -> Path:
        """The gathered labels."""
        return self.root / "labels.csv"

    def marker(self, stage: str, index: int) -> Path:
        """The done-marker of one index of a stage."""
        return self.root / "markers" / stage / f"{index:05d}.json"

    def markers(self, stage: str) -> Path:
        """The folder of a stage's done-markers."""
        return self.root / "markers" / stage

    def checkpoint(self, stage: str, index: int) -> Path:
        """The state to resume one index of a stage from; gone once it is done."""
        return self.root / "checkpoints" / stage / f"{index:05d}.pt"

    def lease(self, stage: str, index: int) -> Path:
        """Who works on one index of a stage; gone once it is done."""
        return self.root / "leases" / stage / f"{index:05d}.json"

    def lease_lock(self, stage: str) -> Path:
        """The file whose byte `index` is locked while a lease is read and changed."""
        return self.root / "leases" / f"{stage}.lock"

    def failure(self, stage: str, index: int) -> Path:
        """The last error of one index of a stage; gone once it is done."""
        return self.root / "failures" / stage / f"{index:05d}.json"
