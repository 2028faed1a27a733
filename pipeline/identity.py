"""What the result of an index follows from, as one hash; and from it what is done, stale or has to wait.

The indices of `collect` and `labels` follow from the experiment alone. A later stage's index follows from its
settings and from the digests of what it reads: where an input was computed again to the same bytes, it stays done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from pipeline.registry import STAGES
from stages.stage import Experiment, Input, Stage
from storage_schema import markers
from storage_schema.markers import Marker


class Identities:
    """Identities of indices, each input's marker read once."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._markers: dict[Input, Marker | None] = {}

    def of(self, stage: Stage, index: int) -> str | None:
        """Return the identity of an index; None while an input is not done."""
        settings = stage.settings(self._experiment, index)
        if settings is None:
            return self._experiment.identity
        inputs = stage.inputs(self._experiment, index)
        found = {f"{each.stage} {each.index}": self._digests(each) for each in inputs}
        if None in found.values():
            return None
        content = {
            "experiment": self._experiment.identity,
            "stage": stage.name,
            "settings": dict(settings),
            "inputs": found,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def done(self, stage: Stage, index: int) -> bool:
        """Tell whether an index is done with the settings and inputs of now."""
        marker = self._marker(Input(stage.name, index))
        return marker is not None and marker.identity == self.of(stage, index)

    def waits_for(self, stage: Stage, index: int) -> list[Input]:
        """Return the inputs of an index that are not done."""
        return [
            each
            for each in stage.inputs(self._experiment, index)
            if not self.done(STAGES[each.stage], each.index)
        ]

    def _digests(self, each: Input) -> dict[str, str] | None:
        marker = self._marker(each)
        return None if marker is None else marker.digests

    def _marker(self, each: Input) -> Marker | None:
        if each not in self._markers:
            marker = markers.load_if_readable(self._experiment.layout.marker(each.stage, each.index))
            own = marker is not None and Input(marker.stage, marker.index) == each
            self._markers[each] = marker if own else None
        return self._markers[each]


class DoneCounter:
    """How many of some indices are done, looked at again and again: a marker is read when it is new."""

    def __init__(self, experiment: Experiment, stage: Stage, indices: Iterable[int]) -> None:
        identities = Identities(experiment)
        self._layout, self._stage = experiment.layout, stage.name
        self._wanted = {index: identities.of(stage, index) for index in indices}
        self._done: set[int] = set()

    def __call__(self) -> int:
        """Return the number."""
        there = markers.done_indices(self._layout.markers(self._stage)) & set(self._wanted)
        self._done |= {index for index in there - self._done if self._is_done(index)}
        return len(self._done)

    def _is_done(self, index: int) -> bool:
        marker = markers.load_if_readable(self._layout.marker(self._stage, index))
        return marker is not None and (marker.index, marker.identity) == (index, self._wanted[index])
