"""Embedding sequences: what the predictor reads (paper C.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.experiment import Experiment
from stages.nap2.feature_maps.variants import Variant
from stages.nap2.models.plan import ModelKey
from storage_schema import schema
from storage_schema.read import open_derived, reading


def read_sequences(experiment: Experiment, key: ModelKey, architectures: Sequence[int]) -> NDArray[Any]:
    """Read a model's sequences from the store of its embeddings.

    Returns:
        Values (architecture, snapshot, 256): weights 128, then gradients 128.
    """
    path = experiment.layout.embeddings(str(key.embedded_by))
    store = open_derived(path, "embed", schema.EMBEDDINGS)
    with reading(path):
        values = store["embedding"].isel(architecture=list(architectures)).sel(kind=list(schema.KINDS)).values
    return fused(values, key.variant)


def fused(values: NDArray[Any], variant: Variant) -> NDArray[Any]:
    """Concatenate the kinds' embeddings, zero for a kind that the variant leaves out (paper eq. 26).

    Args:
        values: (architecture, snapshot, kind, component), kinds in the order of the schema.
        variant: Which kinds are kept.
    """
    kept = np.array([kind in variant.kinds for kind in schema.KINDS])
    chosen = np.where(kept[:, None], values, values.dtype.type(0))
    return chosen.reshape(*values.shape[:2], -1)
