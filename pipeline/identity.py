"""What the result of an index follows from, as one hash; and from it what is done, stale or has to wait.

The indices of `collect` and `labels` follow from the experiment alone. A later stage's index follows from its
settings and from the digests of what it reads: where an input was computed again to the same bytes, it stays done.
Inputs are named after what they are, so that none is another one for standing elsewhere among the others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from pipeline.entries import Entries
from pipeline.registry import STAGES
from stages.experiment import Experiment, Part
from stages.stage import Input, Stage, whole
from storage_schema import legacy, markers
from storage_schema.markers import Marker


class Identities:
    """Identities of indices, each input's marker read once."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._markers: dict[tuple[str, int], Marker | None] = {}

    def of(self, stage: Stage, index: int) -> str | None:
        """Return the identity of an index; None while an input is not done."""
        found = self._inputs(stage, index)
        if found is None:
            return None
        digests = {str(each): each.read_of(marker.digests) for each, marker in found.items()}
        return self._hash(stage, stage.settings(self._experiment, index), digests)

    def _before_keys(self, stage: Stage, index: int) -> str | None:
        """Return what the identity was before keys (`storage_schema.legacy`): inputs by their indices, and whole."""
        found = self._inputs(stage, index)
        if found is None:
            return None
        digests = {f"{each.stage} {each.index}": whole(marker.digests) for each, marker in found.items()}
        return self._hash(stage, stage.settings_before_keys(self._experiment, index), digests)

    def _inputs(self, stage: Stage, index: int) -> dict[Input, Marker] | None:
        """Return the markers of what an index reads; None while one is not there."""
        inputs = stage.inputs(self._experiment, index)
        found = {each: self._marker(STAGES[each.stage], each.index) for each in inputs}
        there = {each: marker for each, marker in found.items() if marker is not None}
        return there if len(there) == len(found) else None

    def _hash(self, stage: Stage, settings: Mapping[str, Any] | None, found: Mapping[str, Any]) -> str:
        if settings is None:
            return self._experiment.identity
        content = {
            "experiment": self._experiment.identity,
            "stage": stage.name,
            "settings": dict(settings),
            "inputs": dict(found),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def done(self, stage: Stage, index: int) -> bool:
        """Tell whether an index is done with the settings and inputs of now."""
        return self.finished(stage, index) is not None

    def finished(self, stage: Stage, index: int) -> Marker | None:
        """Return the marker of an index that is done with the settings and inputs of now; None where it is not."""
        marker = self._marker(stage, index)
        if marker is None:
            return None
        current = marker.identity == self.of(stage, index) or marker.identity == self._before_keys(
            stage, index
        )
        return marker if current else None

    def waits_for(self, stage: Stage, index: int) -> list[Input]:
        """Return the inputs of an index that are not done."""
        return [
            each
            for each in stage.inputs(self._experiment, index)
            if not self.done(STAGES[each.stage], each.index)
        ]

    def _marker(self, stage: Stage, index: int) -> Marker | None:
        place = stage.name, index
        if place not in self._markers:
            key = stage.key(self._experiment, index)
            path = legacy.marker_in_force(self._experiment.layout, stage.name, index, key)
            marker = markers.load_if_readable(path)
            own = marker is not None and marker.is_of(stage.name, index, key)
            self._markers[place] = marker if own else None
        return self._markers[place]


def parts(experiment: Experiment, stage: str, facts: Mapping[str, Any]) -> list[Part]:
    """Return the indices of a stage of which it says these facts; see `Experiment.parts`."""
    identities, of = Identities(experiment), STAGES[stage]
    chosen = (
        (index, said)
        for index, said in enumerate(of.facts(experiment))
        if all(said[name] == value for name, value in facts.items())
    )
    return [
        Part(
            stage=stage,
            index=index,
            facts=said,
            finished=partial(identities.finished, of, index),
        )
        for index, said in chosen
    ]


class DoneCounter:
    """How many of some indices are done, looked at again and again: a marker is read when it is new."""

    def __init__(self, experiment: Experiment, stage: Stage, indices: Iterable[int]) -> None:
        identities = Identities(experiment)
        self._experiment, self._stage = experiment, stage
        self._entries = Entries(experiment, stage)
        self._wanted = {index: identities.of(stage, index) for index in indices}
        self._done: set[int] = set()

    def __call__(self) -> int:
        """Return the number."""
        there = self._entries.marked() & set(self._wanted)
        self._done |= {index for index in there - self._done if self._is_done(index)}
        return len(self._done)

    def _is_done(self, index: int) -> bool:
        key = self._stage.key(self._experiment, index)
        marker = markers.load_if_readable(self._experiment.layout.marker(self._stage.name, key))
        if marker is None or not marker.is_of(self._stage.name, index, key):
            return False
        return marker.identity == self._wanted[index]
