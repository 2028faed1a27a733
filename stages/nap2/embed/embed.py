"""Encoding all collected maps of an experiment with one pair of encoders, into a store of its own."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np

from stages.experiment import Experiment
from stages.nap2.feature_maps.maps import snapshots
from stages.nap2.models.config import CaeConfig
from stages.nap2.models.encode import Encoders
from stages.nap2.models.plan import ModelKey
from stages.recording.config import RecordingConfig
from stages.stage import Execution, Stopped
from stages.training.determinism import fingerprint, provenance
from storage_schema import create, markers, schema


def embed_all(
    experiment: Experiment, key: ModelKey, execution: Execution
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write the store of one pair of encoders; returns result and provenance for the marker.

    Raises:
        Stopped: Asked to stop; nothing is written, as it takes less than a minute to begin again.
    """
    start, settings = time.perf_counter(), experiment.settings
    encoders = Encoders.of_experiment(experiment, key)
    folder = experiment.layout.markers("collect")
    done = sorted(markers.done_indices(folder, len(experiment.architectures)))
    seen = list(snapshots(key.variant, len(settings(RecordingConfig).steps)))
    shape = (len(experiment.architectures), len(seen), len(schema.KINDS), schema.EMBEDDING)
    values = np.full(shape, np.nan, np.dtype(settings(CaeConfig).dtype))
    parts = encoders.embed(experiment, done, len(seen))
    for position, (architecture, found) in enumerate(parts):
        values[architecture] = found
        if execution.should_stop():
            raise Stopped(f"embedding of {key} is begun again by the next run")
        execution.progress((position + 1) / len(done), f"{position + 1} of {len(done)} architectures")
    where = provenance(fingerprint(encoders.device), [])
    attributes = {
        "title": "embeddings of training dynamics",
        "schema_version": experiment.schema_version,
        "identity": execution.identity,
        "experiment": experiment.identity,
        "model": str(key),
        "encoders": json.dumps(encoders.cards),
        "provenance": json.dumps(where),
    }
    table = dict(schema.EMBEDDINGS)
    table["embedding"] = schema.with_dtype(table["embedding"], settings(CaeConfig).dtype)
    contents = {
        "architecture": experiment.architectures,
        "snapshot": seen,
        "step": [settings(RecordingConfig).steps[k] for k in seen],
        "kind": schema.KINDS,
        "component": np.arange(schema.EMBEDDING),
        "embedding": values,
    }
    with execution.guard():
        create.replace(experiment.layout.embeddings(str(key)), table, contents, attributes)
    seconds = round(time.perf_counter() - start, 2)
    return {"model": str(key), "architectures": len(done), "seconds": seconds}, where
