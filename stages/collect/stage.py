"""The `collect` stage: its store, its indices and what it gathers; torch is imported only when an index runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stages.datasets.config import DataConfig
from stages.experiment import Experiment
from stages.recording.config import RecordingConfig
from stages.search_spaces.chosen import space_of, task_of
from stages.search_spaces.config import ArchitecturesConfig
from stages.search_spaces.space import summary
from stages.stage import Estimate, Execution, Outcome, Shared, Stage
from stages.training.config import TrainingConfig, check_numerics
from stages.training.estimate import SAMPLE, networks, training_seconds
from storage_schema import markers, schema
from storage_schema.create import create, grow
from storage_schema.read import StoreError, check_identity, open_dynamics
from storage_schema.schema import Sizes
from storage_schema.write import TASK_ARRAYS, object_path, shared_files, write_gathered

ROUGH_BYTES_PER_VALUE = 3.8
"""Of one float32 statistic after compression."""


class CollectStage(Stage):
    """Training dynamics of every architecture of the plan, into `dynamics.zarr`."""

    name = "collect"

    def num_tasks(self, experiment: Experiment) -> int:
        """One index an architecture."""
        return len(experiment.architectures)

    def estimate(self, experiment: Experiment, indices: Sequence[int]) -> Estimate:
        """Return what the training takes, and the statistics of all layers and units."""
        settings = experiment.settings
        images = settings(RecordingConfig).mini_batches * settings(TrainingConfig).batch_size
        return Estimate(
            seconds=training_seconds(experiment, indices, images), bytes=_rough_bytes(experiment, indices)
        )

    def seconds_taken(self, result: Mapping[str, Any]) -> float:
        """Return the seconds of all activities before all snapshots."""
        return float(sum(sum(part) for part in result["seconds"].values()))

    def admit(self, experiment: Experiment) -> None:
        """Refuse to train under other numerics than the experiment's.

        Raises:
            ConfigError: This code's are others.
        """
        check_numerics(experiment.numerics_version)

    def prepare(self, experiment: Experiment) -> None:
        """Create the store, unless it is there.

        Raises:
            StoreError: The store that is there belongs to another experiment, or is from before it was extended.
        """
        path, wanted = experiment.layout.dynamics, len(experiment.architectures)
        if not path.exists():
            _create(experiment)
            return
        check_identity(path, experiment.identity)
        there = open_dynamics(path).sizes["architecture"]
        if there < wanted:
            raise StoreError(
                f"{path} has room for {there} of {wanted} architectures; restore a later copy of it"
            )

    def grow(self, experiment: Experiment) -> None:
        """Put a store with room for all architectures in the place of the one that is there."""
        if experiment.layout.dynamics.exists():
            sizes = store_sizes(experiment)
            values = store_values(experiment, sizes)
            grow(experiment.layout.dynamics, sizes, values, _attributes(experiment))

    def run(self, experiment: Experiment, index: int, execution: Execution) -> Outcome:
        """Train one architecture."""
        from stages.collect import collect

        return collect.run(experiment, index, execution)

    def finalise(self, experiment: Experiment) -> None:
        """Gather scalars and provenance from the markers into arrays of the store."""
        # As many as the store has: an extension that was killed has made room in it and gone no further.
        there = open_dynamics(experiment.layout.dynamics).sizes["architecture"]
        sizes = replace(store_sizes(experiment), architectures=there)
        values: dict[str, Any] = {
            name: np.full(sizes.of(v.dims), v.fill, dtype=_dtype(v.dtype))
            for name, v in schema.as_of(schema.VARIABLES, experiment.schema_version).items()
            if v.written_by == "finalise"
        }
        for index in sorted(markers.done_indices(experiment.layout.markers(self.name), there)):
            path = experiment.layout.marker(self.name, index)
            marker = markers.load(path)
            if marker is not None and marker.identity == experiment.identity:
                with markers.reading(path):
                    _gather(values, index, marker)
        write_gathered(experiment.layout.dynamics, schema.VARIABLES, values)

    def files(self, experiment: Experiment, index: int) -> dict[str, Path]:
        """Return the architecture's part of the store."""
        return {name: object_path(experiment.layout.dynamics, name, index) for name in TASK_ARRAYS}

    def shared(self, experiment: Experiment) -> Shared:
        """The store of training dynamics; of its files, all but the architectures' parts."""
        path = experiment.layout.dynamics
        return Shared(files=shared_files(path), store=path, restore=partial(_create, experiment))


def _create(experiment: Experiment) -> None:
    """Create the store, or what is missing of it."""
    sizes = store_sizes(experiment)
    values = store_values(experiment, sizes)
    create(experiment.layout.dynamics, sizes, values, _attributes(experiment))


def _rough_bytes(experiment: Experiment, indices: Sequence[int]) -> float:
    if not indices:
        return 0.0
    some = networks(experiment, indices[:SAMPLE])
    rows = sum(min(layer.units, schema.VALUES - 1) + 1 for each in some for layer in each.layers) / len(some)
    values = rows * len(schema.FEATURES) * len(experiment.settings(RecordingConfig).steps) * len(schema.KINDS)
    return values * ROUGH_BYTES_PER_VALUE * len(indices)


def _attributes(experiment: Experiment) -> dict[str, Any]:
    return {
        "title": "training dynamics: statistics of weights and gradients",
        "schema_version": experiment.schema_version,
        "identity": experiment.identity,
        "data": experiment.settings(DataConfig).name,
        "sample": experiment.settings(ArchitecturesConfig).sample,
    }


def _dtype(name: str) -> Any:
    return np.dtypes.StringDType() if name == "string" else np.dtype(name)


def _gather(values: dict[str, Any], index: int, marker: markers.Marker) -> None:
    values["written"][index] = True
    values["diverged"][index] = marker.result["diverged"]
    values["provenance"][index] = json.dumps(marker.provenance)
    for column, activity in enumerate(schema.ACTIVITIES):
        values["seconds"][index, :, column] = marker.result["seconds"][activity]


def store_sizes(experiment: Experiment) -> Sizes:
    """Return the lengths of the store's dimensions."""
    recording = experiment.settings(RecordingConfig)
    return Sizes(
        architectures=len(experiment.architectures),
        snapshots=len(recording.steps),
        layers=space_of(experiment).max_layers(task_of(experiment.settings)),
        mini_batches=recording.mini_batches,
    )


def store_values(experiment: Experiment, sizes: Sizes) -> dict[str, Any]:
    """Return coordinates and static values: all of them follow from the plan and the settings."""
    space, task = space_of(experiment), task_of(experiment.settings)
    found = [summary(space, architecture, task) for architecture in experiment.architectures]
    units = np.zeros((sizes.architectures, sizes.layers), np.int32)
    reachable = np.zeros((sizes.architectures, sizes.layers), bool)
    names = np.full((sizes.architectures, sizes.layers), "", dtype=np.dtypes.StringDType())
    for index, network in enumerate(found):
        count = len(network.layers)
        units[index, :count] = [layer.units for layer in network.layers]
        reachable[index, :count] = [layer.reachable for layer in network.layers]
        names[index, :count] = [layer.name for layer in network.layers]
    return {
        "architecture": experiment.architectures,
        "snapshot": np.arange(sizes.snapshots),
        "step": experiment.settings(RecordingConfig).steps,
        "layer": np.arange(sizes.layers),
        "value": np.arange(schema.VALUES),
        "feature": schema.FEATURES,
        "mini_batch": np.arange(1, sizes.mini_batches + 1),
        "curve": schema.CURVES,
        "activity": schema.ACTIVITIES,
        "units": units,
        "layers": [len(network.layers) for network in found],
        "layer_name": names,
        "reachable": reachable,
        "parameters": [network.parameters for network in found],
        "flops": [network.flops for network in found],
    }
