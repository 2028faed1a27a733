"""The `zero-cost` stage: proxies of every architecture at its initialization; torch is imported only when it runs."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stages.experiment import Experiment
from stages.stage import Execution, Outcome, Shared, Stage
from stages.zero_cost.columns import COLUMNS, column_settings, store_settings
from stages.zero_cost.config import ZeroCostConfig
from stages.zero_cost.kept import kept_numbers, kept_proxies
from stages.zero_cost.registry import PROXIES
from storage_schema import create, markers, schema, write
from storage_schema.read import open_derived


class ZeroCostStage(Stage):
    """Zero-cost proxies of every architecture of the plan, gathered into `zero_cost.zarr`."""

    name = "zero-cost"
    required = False  # a method that fails is a row that says so

    def num_tasks(self, experiment: Experiment) -> int:
        """One index an architecture."""
        return len(experiment.architectures)

    def settings(self, experiment: Experiment, index: int) -> Mapping[str, Any]:
        """Return what the proxies look at, and which numbers there are."""
        return column_settings(experiment.settings(ZeroCostConfig))

    def prepare(self, experiment: Experiment) -> None:
        """Create the store, empty, unless there is one with the settings and of as many architectures as now."""
        path, attributes = experiment.layout.zero_cost, self._attributes(experiment)
        if (path / "zarr.json").is_file():
            kept = open_derived(path, self.name, schema.ZERO_COST)
            same = {name: kept.attrs.get(name) for name in attributes} == attributes
            if same and kept.sizes["architecture"] == len(experiment.architectures):
                return
        self._create(experiment)

    def _create(self, experiment: Experiment) -> None:
        """Create the store, empty; all it holds is gathered from the markers."""
        columns = COLUMNS.values()
        contents = {
            "architecture": experiment.architectures,
            "proxy": list(COLUMNS),
            "unit": [column.unit for column in columns],
            "meaning": [column.meaning for column in columns],
            "source": [column.source for column in columns],
            "provenance": [""] * len(experiment.architectures),
        }
        create.replace(experiment.layout.zero_cost, schema.ZERO_COST, contents, self._attributes(experiment))

    def run(self, experiment: Experiment, index: int, execution: Execution) -> Outcome:
        """Compute the proxies of one architecture, but those that the marker before has by the same versions.

        What takes seconds begins again when stopped.
        """
        from stages.zero_cost.compute import compute

        architecture, settings = experiment.architectures[index], self._attributes(experiment)["settings"]
        kept = kept_proxies(execution.previous, architecture, settings)
        wanted = {name: proxy for name, proxy in PROXIES.items() if name not in kept}
        measured, provenance = compute(experiment, index, execution, wanted)
        before = kept_numbers(execution.previous, kept)
        values = before["values"] | measured.values
        seconds = before["proxy_seconds"] | measured.seconds
        result = {
            "architecture": architecture,
            "settings": settings,
            "values": values,
            "notes": before["notes"] | measured.notes,
            "proxy_seconds": seconds,
            "seconds": round(sum(seconds[proxy.columns[0].name] for proxy in PROXIES.values()), 4),
        }
        # Where and with what the others were computed it cannot say.
        origin = provenance | ({"kept": list(kept)} if kept else {})
        return Outcome(digests={"values": _digest(values)}, result=result, provenance=origin)

    def finalise(self, experiment: Experiment) -> None:
        """Gather what the markers say into the store."""
        self.prepare(experiment)
        shape = (len(experiment.architectures), len(COLUMNS))
        values: dict[str, Any] = {
            "score": np.full(shape, math.nan),
            "seconds": np.full(shape, math.nan, np.float32),
            "note": np.full(shape, "", np.dtypes.StringDType()),
            "provenance": np.full(shape[0], "", np.dtypes.StringDType()),
        }
        settings = self._attributes(experiment)["settings"]
        for index in sorted(markers.done_indices(experiment.layout.markers(self.name), shape[0])):
            path = experiment.layout.marker(self.name, index)
            marker = markers.load(path)
            if marker is not None and marker.result.get("settings") == settings:
                with markers.reading(path):
                    _gather(values, index, marker)
        write.write_gathered(experiment.layout.zero_cost, schema.ZERO_COST, values)

    def files(self, experiment: Experiment, index: int) -> dict[str, Path]:
        """Return nothing: the values are in the marker."""
        return {}

    def shared(self, experiment: Experiment) -> Shared:
        """The store of all proxies."""
        path = experiment.layout.zero_cost
        return Shared(files=write.shared_files(path), store=path, restore=partial(self._create, experiment))

    def digests(self, experiment: Experiment, marker: markers.Marker) -> dict[str, str]:
        """Return the digest of the values in the marker."""
        return {"values": _digest(marker.result["values"])} if "values" in marker.result else {}

    def _attributes(self, experiment: Experiment) -> dict[str, Any]:
        return {
            "title": "zero-cost proxies: numbers of networks at initialization",
            "schema_version": experiment.schema_version,
            "identity": experiment.identity,
            "settings": store_settings(experiment.settings(ZeroCostConfig), experiment.identity),
        }


def _digest(values: Mapping[str, float | None]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _gather(values: dict[str, Any], index: int, marker: markers.Marker) -> None:
    for column, name in enumerate(COLUMNS):
        found = marker.result["values"].get(name)
        values["score"][index, column] = math.nan if found is None else found
        values["seconds"][index, column] = marker.result["proxy_seconds"].get(name, math.nan)
        values["note"][index, column] = marker.result["notes"].get(name, "")
    values["provenance"][index] = json.dumps(marker.provenance)
