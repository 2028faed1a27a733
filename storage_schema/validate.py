"""Whether a store's metadata is that of the table: checked before anything of its size is made room for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypedDict

from storage_schema import documents, schema
from storage_schema.errors import UserError
from storage_schema.schema import Lengths, Variable

MOST_VALUES: Final = 100_000_000
"""Of an array that is read whole, and of one chunk."""
MOST_LENGTH: Final = 10_000_000
FIXED: Final = {
    "value": schema.VALUES,
    "feature": len(schema.FEATURES),
    "curve": len(schema.CURVES),
    "activity": len(schema.ACTIVITIES),
    "kind": len(schema.KINDS),
    "component": schema.EMBEDDING,
}
"""Lengths that the schema itself decides."""


class StoreError(UserError, ValueError):
    """A store that is not there, of another experiment or schema, damaged, or lacks what is asked of it."""


class _Array(TypedDict):
    shape: list[int]
    data_type: Any
    chunk_grid: dict[str, Any]
    codecs: list[dict[str, Any]]
    dimension_names: list[str]


class _Consolidated(TypedDict):
    metadata: dict[str, dict[str, Any]]


class _Group(TypedDict):
    attributes: dict[str, Any]
    consolidated_metadata: _Consolidated


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong when damaged metadata or chunks are read into a `StoreError`."""
    try:
        yield
    except UserError:
        raise
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RuntimeError,
        AssertionError,
        MemoryError,
    ) as error:
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise StoreError(
            f"{path} is damaged ({line[:200]}); pipeline verify says what, or restore it from a copy"
        ) from error


def check_store(path: Path, table: Mapping[str, Variable]) -> list[str]:
    """Check the consolidated metadata of a store against the table of its own version of the schema.

    Args:
        path: The store.
        table: What stores of all versions hold.

    Returns:
        Its other members, of a later version or somebody's own: they were not looked at.

    Raises:
        StoreError: An array is not there or not as in the table, two disagree, or one is too large.
    """
    with reading(path):
        group: _Group = documents.load(path / "zarr.json", _Group)
        members = group["consolidated_metadata"]["metadata"]
        expected = schema.as_of(table, _version(path, group))
        missing = sorted(expected.keys() - members.keys())
        if missing:
            raise ValueError(f"{missing[0]!r} is not in the store")
        others = sorted(members.keys() - expected.keys())
        for name in others:
            if set(name.split("/")) & {"", ".", ".."}:
                raise ValueError(f"{name[:40]!r} is not in the table of arrays, and nothing within the store")
        _check_arrays(members, expected)
    return others


def schema_version(path: Path) -> int:
    """Return the version of the schema that a store was begun with.

    Raises:
        StoreError: It has none, or one that is newer than this code.
    """
    with reading(path):
        return _version(path, documents.load(path / "zarr.json", _Group))


def _version(path: Path, group: _Group) -> int:
    version = group["attributes"].get("schema_version")
    if type(version) is not int or version < 1:
        raise StoreError(f"{path} has no schema version; restore it from a copy")
    if version > schema.VERSION:
        raise StoreError(
            f"{path}: schema version {version} is newer than {schema.VERSION}; update nap2-pipeline"
        )
    return version


def check_arrays(path: Path, table: Mapping[str, Variable], names: tuple[str, ...]) -> None:
    """Check the metadata that belongs to single arrays of a store, which writers use.

    Raises:
        StoreError: As `check_store`.
    """
    with reading(path):
        members = {name: documents.load(path / name / "zarr.json", dict[str, Any]) for name in names}
        _check_arrays(members, {name: table[name] for name in names})


def _check_arrays(members: Mapping[str, Any], table: Mapping[str, Variable]) -> None:
    lengths: dict[str, int] = {}
    for name, variable in table.items():
        documents.check(members[name], _Array)
        array: _Array = members[name]
        if tuple(array["dimension_names"]) != variable.dims or len(array["shape"]) != len(variable.dims):
            raise ValueError(f"{name} has other dimensions than {', '.join(variable.dims)}")
        for dim, length in zip(variable.dims, array["shape"], strict=True):
            if lengths.setdefault(dim, FIXED.get(dim, length)) != length or not 0 <= length <= MOST_LENGTH:
                raise ValueError(f"{name} has the length {length} along {dim}")
    for name, variable in table.items():
        _check_chunks(name, variable, members[name], Lengths(lengths))


def _check_chunks(name: str, variable: Variable, array: _Array, lengths: Lengths) -> None:
    """Check type and chunks: what they hold is made room for at once."""
    floats = ("float32", "float64")
    allowed = floats if variable.dtype in floats else (variable.dtype,)
    if array["data_type"] not in allowed:
        raise ValueError(f"{name} is not of type {variable.dtype}")
    outer = variable.chunk if variable.shard is None else variable.shard
    shapes = [array["chunk_grid"]["configuration"]["chunk_shape"]]
    expected = [schema.chunk_shape(variable, lengths, single=outer)]
    if variable.shard is not None:
        shapes.append(array["codecs"][0]["configuration"]["chunk_shape"])
        expected.append(schema.chunk_shape(variable, lengths, single=variable.chunk))
    if [tuple(shape) for shape in shapes] != expected:
        raise ValueError(f"{name} has other chunks than the table's")
    # An array that tasks write is read chunk by chunk, the others whole.
    whole = expected[0] if variable.written_by == "task" else lengths.of(variable.dims)
    if math.prod(whole) > MOST_VALUES:
        raise ValueError(f"{name} has {math.prod(whole)} values to be read at once")
