"""Coordinates and static values of a small store with no experiment behind it."""

from __future__ import annotations

from typing import Any

import numpy as np

from storage_schema import schema
from storage_schema.schema import Sizes

ATTRIBUTES = {"identity": "me", "schema_version": schema.VERSION}


def static_values(sizes: Sizes, steps: tuple[int, ...], *, layers: int, units: int = 1) -> dict[str, Any]:
    """Every architecture has the same `layers` layers of `units` units, all reachable."""
    count = sizes.architectures
    present = np.tile(np.arange(sizes.layers) < layers, (count, 1))
    return {
        "architecture": [f"a{i}" for i in range(count)],
        "snapshot": range(sizes.snapshots),
        "step": steps,
        "layer": range(sizes.layers),
        "value": range(schema.VALUES),
        "feature": schema.FEATURES,
        "mini_batch": range(1, sizes.mini_batches + 1),
        "curve": schema.CURVES,
        "activity": schema.ACTIVITIES,
        "units": np.where(present, units, 0),
        "layers": np.full(count, layers),
        "layer_name": [[f"layer{i}" if i < layers else "" for i in range(sizes.layers)]] * count,
        "reachable": present,
        "parameters": range(count),
        "flops": range(count),
    }
