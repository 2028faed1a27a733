"""Creating the store of an experiment: every shape, coordinate and static value, once (docs/decisions/0002)."""

from __future__ import annotations

import math
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, TransposeCodec, ZstdCodec

from storage_schema import documents, durable, schema
from storage_schema.schema import Lengths, Sizes, Variable
from storage_schema.validate import StoreError, check_arrays, reading


class _Shaped(TypedDict):
    shape: list[int]


def create(path: Path, sizes: Sizes, values: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
    """Create the store at `path`, or what is missing of the one that is there.

    It is built beside `path` and renamed into place: at no moment is a half-made store seen, and of two
    processes that create it at once the second one's copy is dropped.

    Args:
        path: Where the store goes.
        sizes: Lengths of the dimensions.
        values: Arrays of the coordinate and static variables, by name.
        attributes: What the store says of itself (schema version, which decides its variables; identity, data set).

    Raises:
        StoreError: The one that is there has other lengths.
    """
    durable.make_folder(path.parent)
    table = schema.as_of(schema.VARIABLES, attributes["schema_version"])
    with _beside(path) as temporary:
        _fill(temporary, table, sizes, values, attributes)
        if not _rename(temporary, path):
            _add_missing(temporary, path)


def grow(path: Path, sizes: Sizes, values: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
    """Replace the store by one with room for more architectures that holds all that the old one does.

    Nobody may write meanwhile. Killed anywhere, it leaves the old store or the new one; between the two renames,
    the old one under another name, from which `recover` brings it back.

    Args:
        path: The store.
        sizes: Lengths of the dimensions of the new one.
        values: As for `create`.
        attributes: As for `create`.

    Raises:
        StoreError: The old store is damaged.
    """
    table = schema.as_of(schema.VARIABLES, attributes["schema_version"])
    durable.remove(_aside(path))
    with _beside(path) as temporary:
        _fill(temporary, table, sizes, values, attributes)
        _take_over(path, temporary, table)
        path.rename(_aside(path))
        while not _rename(temporary, path):  # somebody who looked just then has brought the old one back
            path.rename(_aside(path))
        durable.sync_folder(path.parent)
        shutil.rmtree(_aside(path))


def recover(path: Path) -> None:
    """Bring back the old store where `grow` was killed between its two renames."""
    if not path.exists():
        with suppress(OSError):  # there is none, or another process was faster
            _aside(path).rename(path)


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.before")


def _take_over(old: Path, new: Path, table: Mapping[str, Variable]) -> None:
    """Put into a new store what was gathered in the old one, what tasks wrote there, and what is not ours."""
    gathered = tuple(name for name, variable in table.items() if variable.written_by == "finalise")
    check_arrays(old, table, gathered)
    with reading(old):
        before = zarr.open_group(old, mode="r", use_consolidated=False)
        after: Any = zarr.open_group(new, mode="r+", use_consolidated=False)
        for name in gathered:
            found: Any = before[name]
            rows = slice(min(found.shape[0], after[name].shape[0]))
            after[name][rows] = found[rows]
    taken = [old / name / "c" for name, variable in table.items() if variable.written_by == "task"]
    taken += [place for place in old.iterdir() if place.is_dir() and place.name not in table]
    files = (file for place in taken for file in place.rglob("*") if file.suffix != durable.PARTIAL)
    for file in sorted(file for file in files if file.is_file()):
        place = new / file.relative_to(old)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, place)
        except OSError:  # this file system has no links
            shutil.copyfile(file, place)
    _sync(new)


def replace(
    path: Path, variables: Mapping[str, Variable], values: Mapping[str, Any], attributes: Mapping[str, Any]
) -> None:
    """Write a derived store whole, in the place of the one that is there, as its version of the schema has it.

    Killed between the two renames it leaves no store, and no marker vouches for one: the task is done again.

    Args:
        path: Where the store goes; missing folders are made.
        variables: Its table (`schema.EMBEDDINGS`, `schema.SCORES`).
        values: Arrays of all variables, by name.
        attributes: What the store says of itself: its schema version, and where it comes from.
    """
    durable.make_folder(path.parent)
    table = schema.as_of(variables, attributes["schema_version"])
    sizes = Lengths({v.dims[0]: len(values[name]) for name, v in table.items() if len(v.dims) == 1})
    with _beside(path) as temporary:
        _fill(temporary, table, sizes, values, attributes)
        if path.exists():
            old = durable.beside(path)
            path.rename(old)
            shutil.rmtree(old)
        temporary.rename(path)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Give a place beside `path` for a new store; what was not renamed away by the end is removed."""
    temporary = durable.beside(path)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    durable.sync_folder(path.parent)


def _fill(
    path: Path,
    variables: Mapping[str, Variable],
    sizes: Sizes | Lengths,
    values: Mapping[str, Any],
    attributes: Mapping[str, Any],
) -> None:
    group = zarr.create_group(path, zarr_format=3, attributes=dict(attributes))
    for name, variable in variables.items():
        array = _create_array(group, name, variable, variables, sizes)
        if variable.written_by in ("coordinate", "static"):
            array[...] = _as_array(values[name], variable)
    _consolidate(path)
    _sync(path)


def _sync(path: Path) -> None:
    for folder, _, files in os.walk(path):
        for file in files:
            _sync_file(Path(folder) / file)
        durable.sync_folder(Path(folder))


def _create_array(
    group: zarr.Group,
    name: str,
    variable: Variable,
    variables: Mapping[str, Variable],
    sizes: Sizes | Lengths,
) -> zarr.Array[Any]:
    coordinates = [
        other
        for other, v in variables.items()
        if v.written_by == "coordinate" and other not in v.dims and set(v.dims) <= set(variable.dims)
    ]
    attributes: dict[str, Any] = {"description": variable.description, "units": variable.units}
    if variable.written_by != "coordinate" and coordinates:
        attributes["coordinates"] = " ".join(coordinates)  # CF: how xarray learns that `step` is one
    chunk = schema.chunk_shape(variable, sizes, single=variable.chunk)
    return group.create_array(
        name,
        shape=sizes.of(variable.dims),
        dtype=variable.dtype,
        chunks=chunk,
        shards=None if variable.shard is None else schema.chunk_shape(variable, sizes, single=variable.shard),
        fill_value=variable.fill,
        dimension_names=variable.dims,
        attributes=attributes,
        **_codecs(variable, chunk),
    )


def _codecs(variable: Variable, chunk: tuple[int, ...]) -> dict[str, Any]:
    if variable.dtype == "string":
        return {"compressors": [ZstdCodec(level=3, checksum=True)]}
    size = np.dtype(variable.dtype).itemsize
    # Bytes of equal significance lie together; one block a chunk, since the values alike are far apart.
    block = 1 << (size * math.prod(chunk) - 1).bit_length()
    blosc = BloscCodec(cname="zstd", clevel=2, shuffle="shuffle", typesize=size, blocksize=block)
    codecs: dict[str, Any] = {
        "serializer": BytesCodec(endian="little"),
        "compressors": [blosc, Crc32cCodec()],
    }
    if variable.dims[-3:] == ("layer", "value", "feature"):
        # Feature by feature and unit by unit, along the layers: equal exponents and runs of padding meet.
        # Fewer bytes, sooner, than in the order of the dimensions: tests/benchmarks/bench_store.py prints them.
        codecs["filters"] = [TransposeCodec(order=(0, 1, 4, 3, 2))]
    return codecs


def _as_array(value: Any, variable: Variable) -> Any:
    if variable.dtype == "string":
        return np.asarray(value, dtype=np.dtypes.StringDType())
    return np.asarray(value, dtype=variable.dtype)


def _consolidate(path: Path) -> None:
    with warnings.catch_warnings():
        # Zarr warns that consolidated metadata is not in the v3 specification; readers that do not know it
        # skip it, and xarray warns when it is absent.
        warnings.simplefilter("ignore", category=UserWarning)
        zarr.consolidate_metadata(str(path))


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _rename(temporary: Path, path: Path) -> bool:
    """Rename the new store into place; false where one is there."""
    try:
        temporary.rename(path)
    except OSError:
        if not path.exists():
            raise
        return False
    return True


def _add_missing(temporary: Path, path: Path) -> None:
    for made in sorted(temporary.glob("*/zarr.json")):
        array = path / made.parent.name
        with reading(path):
            both = [file for file in (made, array / made.name) if file.exists()]
            shapes = {tuple(documents.load(file, _Shaped)["shape"]) for file in both}
        if len(shapes) > 1:
            raise StoreError(
                f"{array} has other lengths than the experiment; if pipeline extend was interrupted, give it again"
            )
    for file in sorted(temporary.rglob("*")):
        place = path / file.relative_to(temporary)
        if file.is_file() and not place.exists():
            durable.make_folder(place.parent)
            file.rename(place)
            durable.sync_folder(place.parent)
