"""Which index of a stage a file is of: files are named after keys, indices count what the settings of now ask for."""

from __future__ import annotations

from pathlib import Path

from stages.experiment import Experiment
from stages.stage import Stage
from storage_schema import lease, markers
from storage_schema.layout import file_name


class Entries:
    """The indices of a stage with the settings of now, by the names of their files.

    A file of no index is the result of other settings: it is left alone, and counts again when they are back.
    """

    def __init__(self, experiment: Experiment, stage: Stage) -> None:
        self._layout, self._stage = experiment.layout, stage.name
        keys = (stage.key(experiment, index) for index in range(stage.num_tasks(experiment)))
        self._indices = {file_name(key): index for index, key in enumerate(keys)}

    def index(self, path: Path) -> int | None:
        """Return the index that a file, also an unfinished one, is of; None for no index."""
        return self._indices.get(stem(path))

    def marked(self) -> set[int]:
        """Return the indices that have a marker, whatever it is worth; one of before keys is named after an index."""
        folder = self._layout.markers(self._stage)
        before = markers.done_indices(folder, len(self._indices))
        return before | self._listed(folder, ".json")

    def with_checkpoint(self) -> set[int]:
        """Return the indices that have a checkpoint."""
        return self._listed(self._layout.checkpoint(self._stage, 0).parent, ".pt")

    def with_lease(self) -> set[int]:
        """Return the indices that have a lease, also one that was given up."""
        return self._listed(self._layout.lease(self._stage, 0).parent, ".json")

    def with_failure(self) -> set[int]:
        """Return the indices that have the record of a failure."""
        return self._listed(self._layout.failure(self._stage, 0).parent, ".json")

    def _listed(self, folder: Path, suffix: str) -> set[int]:
        try:
            found = {self.index(path) for path in folder.iterdir() if path.suffix == suffix}
        except FileNotFoundError:
            return set()
        return {index for index in found if index is not None}


def stem(path: Path) -> str:
    """Return the part of a file's name that says what it is of."""
    return path.name.partition(".")[0]


def place(experiment: Experiment, stage: Stage, index: int) -> int:
    """Return the place of an index in the stage's lock file."""
    return lease.place(file_name(stage.key(experiment, index)))
