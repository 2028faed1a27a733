"""An experiment as the stages see it: where it is on disk, its settings and its plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.settings import Settings
from storage_schema import splits
from storage_schema.layout import Layout
from storage_schema.markers import Marker
from storage_schema.splits import SplitFiles


@dataclass(frozen=True, kw_only=True)
class Part:
    """One index of a stage, as another stage sees it: stages import none beside them.

    Attributes:
        index: Its position now.
        facts: What its stage says of it (`Stage.facts`); `key` names it (`Stage.key`).
        finished: Reads what it left, if it is done with the settings and inputs of now; else gives None.
    """

    stage: str
    index: int
    facts: Mapping[str, Any]
    finished: Callable[[], Marker | None]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """An experiment on disk: where it is, its settings, its plan.

    Attributes:
        settings: Asked for by the class of a section.
        architectures: Architecture string of every index.
        planned_labels: Accuracy of every index, None where it is not known beforehand.
        data_digest: Content digest of the data set, part of the identity.
        schema_version: Version of the storage schema that it was made with; so are its stores.
        numerics_version: That its networks are trained with.
        open_other: Opens another experiment, whose frozen models are used here (R18).
        parts_of: Finds the indices of a stage of which it says some facts.
        space_code: What of the search space's code decides results, see `search_spaces.registry.recorded`.
    """

    layout: Layout
    settings: Settings
    identity: str
    architectures: tuple[str, ...]
    planned_labels: tuple[float | None, ...]
    data_digest: str
    schema_version: int
    numerics_version: int
    open_other: Callable[[Path], Experiment]
    parts_of: Callable[[Experiment, str, Mapping[str, Any]], Sequence[Part]]
    space_code: str

    def split(self, trial: int) -> SplitFiles:
        """Read who trains, validates and tests in a trial."""
        return splits.read(self.layout.split(trial), len(self.architectures))

    def parts(self, stage: str, **facts: Any) -> Sequence[Part]:
        """Return the indices of another stage of which it says these facts, in their order."""
        return self.parts_of(self, stage, facts)
