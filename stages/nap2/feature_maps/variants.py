"""Views of the maps that a model is given: the paper's, the controls and parts of it, as data (R8, R24).

A variant says which rows, features, snapshots and kinds a model sees; autoencoder and predictor are the same for all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from stages.settings import first_name
from storage_schema import schema

Rows = NDArray[np.float32]
"""Statistics of the layers kept, (layer, value, feature), NaN where there is no value."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One view.

    Attributes:
        view: From the statistics and the architecture string to the statistics that the model sees.
        snapshots: `trained`: those after some steps (the paper's); `initial`: the one before any step (R3).
        kinds: Of the embedding; the other half is zero.
        encoder: Variant whose encoders embed it.
        formerly: The names it had, the first one first: it is read under each of them (docs/compatibility.md).
    """

    name: str
    description: str
    view: Callable[[Rows, str], Rows]
    snapshots: Literal["trained", "initial"] = "trained"
    kinds: tuple[str, ...] = schema.KINDS
    encoder: str
    formerly: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Its first name, in paths, identities and results: a rename makes nothing stale."""
        return first_name(self.name, self.formerly)

    @property
    def encoded_by(self) -> Variant:
        """The variant whose encoders embed it."""
        return VARIANTS[self.encoder]


def _as_recorded(rows: Rows, architecture: str) -> Rows:  # noqa: ARG001
    return rows


def _mask(rows: Rows, architecture: str) -> Rows:  # noqa: ARG001
    return np.isfinite(rows).astype(np.float32)


def _shuffled(rows: Rows, architecture: str) -> Rows:
    """Put the layers in an order that depends on the architecture alone: the same for each snapshot and kind."""
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(crc32(architecture.encode()))))
    return rows[generator.permutation(len(rows))]


def _norms(rows: Rows, architecture: str) -> Rows:  # noqa: ARG001
    return np.where(np.isin(schema.FEATURES, ("l1", "l2")), rows, np.float32(0))


_ALL = (
    Variant(name="maps", description="the paper's feature maps", view=_as_recorded, encoder="maps"),
    Variant(name="mask", description="control: which entries exist, no values", view=_mask, encoder="mask"),
    Variant(
        name="initial",
        description="control: the snapshot before any step",
        view=_as_recorded,
        snapshots="initial",
        encoder="initial",
    ),
    Variant(
        name="shuffled",
        description="control: layers in an order drawn for each architecture",
        view=_shuffled,
        encoder="shuffled",
    ),
    Variant(name="norms", description="l1 and l2 alone", view=_norms, encoder="norms"),
    Variant(
        name="weights", description="weights alone", view=_as_recorded, kinds=("weights",), encoder="maps"
    ),
    Variant(
        name="gradients",
        description="gradients alone",
        view=_as_recorded,
        kinds=("gradients",),
        encoder="maps",
    ),
)
VARIANTS: Final[dict[str, Variant]] = {variant.name: variant for variant in _ALL}


def find(name: str) -> Variant | None:
    """Return the variant of a name, of today or a former one."""
    named = (variant for variant in VARIANTS.values() if name in variant.formerly)
    return VARIANTS.get(name) or next(named, None)
