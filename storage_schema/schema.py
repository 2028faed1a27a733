"""The table of what a store holds: dimensions, variables, types, units, chunks and the schema's version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

VERSION = 1
"""Raised when a table gains a variable; one that is there stays as it is, and in its table, for ever."""

FEATURES = (
    "mean",
    "median",
    "variance",
    "std",
    "min",
    "max",
    "skewness",
    "kurtosis",
    "covariance",
    "l1",
    "l2",
    "quantiles",
)  # R6: this order
VALUES = 100  # row 0 global, rows 1-99 units (R6)
KINDS = ("weights", "gradients")
CURVES = ("training_loss", "validation_accuracy", "validation_loss", "written")
ACTIVITIES = ("training", "recording", "validation")
LAYER_CAP = 65  # R2: applied when feature maps are read, never on disk


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Lengths of the dimensions of one experiment's store."""

    architectures: int
    snapshots: int  # with the initial one
    layers: int
    mini_batches: int

    def of(self, dims: tuple[str, ...]) -> tuple[int, ...]:
        """Return the shape of an array with these dimensions."""
        lengths = {
            "architecture": self.architectures,
            "snapshot": self.snapshots,
            "layer": self.layers,
            "value": VALUES,
            "feature": len(FEATURES),
            "mini_batch": self.mini_batches,
            "curve": len(CURVES),
            "activity": len(ACTIVITIES),
        }
        return tuple(lengths[dim] for dim in dims)


@dataclass(frozen=True)
class Lengths:
    """Lengths of the dimensions of a derived store, by name."""

    by_dim: Mapping[str, int]

    def of(self, dims: tuple[str, ...]) -> tuple[int, ...]:
        """Return the shape of an array with these dimensions."""
        return tuple(self.by_dim[dim] for dim in dims)


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One array of the store.

    Attributes:
        written_by: `coordinate` and `static` at creation, `task` by the owner of one architecture, `finalise`
            gathered from the markers of finished architectures.
        since: Version of the schema that introduced it; stores of older versions lack it.
        chunk: Dimensions of which one chunk holds a single entry; the others are held whole.
        shard: The same for shards, where one shard holds several chunks.
    """

    dims: tuple[str, ...]
    dtype: str
    written_by: Literal["coordinate", "static", "task", "finalise"]
    description: str
    units: str = "1"
    fill: float | int | bool | str = 0
    chunk: tuple[str, ...] = ()
    shard: tuple[str, ...] | None = None
    since: int = 1


_MAPS = ("architecture", "snapshot", "layer", "value", "feature")
_NAN = float("nan")


def _maps(kind: str) -> Variable:
    return Variable(
        dims=_MAPS,
        dtype="float32",
        written_by="task",
        fill=_NAN,
        chunk=("architecture", "snapshot"),
        shard=("architecture",),
        description=f"twelve statistics of each layer's {kind}; NaN: no such value",
    )


def _coordinate(dim: str, dtype: str, description: str, units: str = "1") -> Variable:
    fill = "" if dtype == "string" else 0
    return Variable(
        dims=(dim,), dtype=dtype, written_by="coordinate", description=description, units=units, fill=fill
    )


VARIABLES: dict[str, Variable] = {
    "architecture": _coordinate("architecture", "string", "genotype, in the order of the plan"),
    "snapshot": _coordinate("snapshot", "int64", "number k of the snapshot; 0 is the initial one"),
    "step": _coordinate("snapshot", "int64", "mini-batch at which the snapshot was taken", "mini-batch"),
    "layer": _coordinate("layer", "int64", "position in module registration order"),
    "value": _coordinate("value", "int64", "0: the whole layer; 1-99: its sampled units"),
    "feature": _coordinate("feature", "string", "statistic"),
    "mini_batch": _coordinate("mini_batch", "int64", "mini-batch, counted from 1", "mini-batch"),
    "curve": _coordinate(
        "curve", "string", "what the curve shows; written: both maps of the snapshot are on disk"
    ),
    "activity": _coordinate("activity", "string", "what the time was spent on"),
    "weights": _maps("weights"),
    "gradients": _maps("gradients"),
    "curves": Variable(
        dims=("architecture", "mini_batch", "curve"),
        dtype="float32",
        written_by="task",
        fill=_NAN,
        chunk=("architecture",),
        description="per mini-batch: training loss (nats); at snapshots: validation accuracy (fraction), "
        "validation loss (nats), and 1 where the snapshot is written",
    ),
    "units": Variable(
        dims=("architecture", "layer"),
        dtype="int32",
        written_by="static",
        description="true number of units of the layer; 0: the architecture has no such layer",
    ),
    "layers": Variable(
        dims=("architecture",), dtype="int32", written_by="static", description="true number of layers"
    ),
    "layer_name": Variable(
        dims=("architecture", "layer"),
        dtype="string",
        written_by="static",
        fill="",
        description="qualified name of the layer's module",
    ),
    "reachable": Variable(
        dims=("architecture", "layer"),
        dtype="bool",
        written_by="static",
        fill=False,
        description="whether the layer has a path to the network's output",
    ),
    "parameters": Variable(
        dims=("architecture",), dtype="int64", written_by="static", description="trainable parameters"
    ),
    "flops": Variable(
        dims=("architecture",),
        dtype="int64",
        written_by="static",
        description="operations of one image's forward pass, by NAS-Bench-201's convention",
    ),
    "written": Variable(
        dims=("architecture", "snapshot"),
        dtype="bool",
        written_by="finalise",
        fill=False,
        description="snapshots vouched for by a done-marker; while a task runs see curves, curve = written",
    ),
    "seconds": Variable(
        dims=("architecture", "snapshot", "activity"),
        dtype="float32",
        written_by="finalise",
        fill=_NAN,
        units="s",
        description="seconds since the snapshot before, by activity",
    ),
    "diverged": Variable(
        dims=("architecture",),
        dtype="bool",
        written_by="finalise",
        fill=False,
        description="whether the training loss became non-finite; a result, not a failure",
    ),
    "provenance": Variable(
        dims=("architecture",),
        dtype="string",
        written_by="finalise",
        fill="",
        description="code and library versions, host and device, as JSON",
    ),
}


EMBEDDING = 128  # values an autoencoder's encoder gives (paper 3.3)

# A derived store is written whole by one task and replaced whole; nothing of it is gathered.
EMBEDDINGS: dict[str, Variable] = {
    "architecture": VARIABLES["architecture"],
    "snapshot": VARIABLES["snapshot"],
    "step": VARIABLES["step"],
    "kind": _coordinate("kind", "string", "what the feature map was made of"),
    "component": _coordinate("component", "int64", "component of the embedding"),
    "embedding": Variable(
        dims=("architecture", "snapshot", "kind", "component"),
        dtype="float32",
        written_by="static",
        fill=_NAN,
        description="encoders' values, one autoencoder a kind; NaN: the architecture is not collected",
    ),
}
SCORES: dict[str, Variable] = {
    "predictor": _coordinate("predictor", "string", "what gave the scores"),
    "size": _coordinate("size", "string", "train size; all: every training architecture"),
    "index": _coordinate("architecture", "int64", "position of the tested architecture in the plan"),
    "architecture": VARIABLES["architecture"],
    "snapshot": VARIABLES["snapshot"],
    "step": VARIABLES["step"],
    "label": Variable(
        dims=("architecture",),
        dtype="float64",
        written_by="static",
        description="accuracy that the scores are compared with, a fraction",
    ),
    "score": Variable(
        dims=("predictor", "size", "architecture", "snapshot"),
        dtype="float64",
        written_by="static",
        fill=_NAN,
        description="higher is better; of the trace up to and including the snapshot",
    ),
}

# Made empty before the first index, gathered from markers like the last variables of `VARIABLES`.
ZERO_COST: dict[str, Variable] = {
    "architecture": VARIABLES["architecture"],
    "proxy": _coordinate("proxy", "string", "number of a network at its initialization"),
    "unit": _coordinate("proxy", "string", "unit of the proxy's score"),
    "meaning": _coordinate("proxy", "string", "what the proxy is"),
    "source": _coordinate("proxy", "string", "paper that the proxy comes from"),
    "score": Variable(
        dims=("architecture", "proxy"),
        dtype="float64",
        written_by="finalise",
        fill=_NAN,
        description="higher is better, in the proxy's unit; NaN: not computed, or no finite value (see note)",
    ),
    "seconds": Variable(
        dims=("architecture", "proxy"),
        dtype="float32",
        written_by="finalise",
        fill=_NAN,
        units="s",
        description="seconds of the pass that gave the score; scores of one pass show the same",
    ),
    "note": Variable(
        dims=("architecture", "proxy"),
        dtype="string",
        written_by="finalise",
        fill="",
        description="why a computed score is NaN",
    ),
    "provenance": VARIABLES["provenance"],
}


def as_of(table: Mapping[str, Variable], version: int) -> dict[str, Variable]:
    """Return what a table holds in a version of the schema."""
    return {name: variable for name, variable in table.items() if variable.since <= version}


def with_dtype(variable: Variable, dtype: str) -> Variable:
    """Return the variable with another type."""
    return replace(variable, dtype=dtype)


def chunk_shape(variable: Variable, sizes: Sizes | Lengths, *, single: tuple[str, ...]) -> tuple[int, ...]:
    """Return the shape in which the dimensions `single` have length 1 and the others are whole."""
    shape = sizes.of(variable.dims)
    return tuple(1 if dim in single else max(n, 1) for dim, n in zip(variable.dims, shape, strict=True))
