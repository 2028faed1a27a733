"""Creating the store of an experiment: every shape, coordinate and static value, once (DESIGN, "The store")."""

from __future__ import annotations

import os
import shutil
import uuid
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec

from storage_schema import schema
from storage_schema.durable import sync_folder
from storage_schema.schema import Sizes, Variable


def create(path: Path, sizes: Sizes, values: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
    """Create the store at `path`, unless it is there.

    It is built beside `path` and renamed into place: at no moment is a half-made store seen, and of two
    processes that create it at once the second one's copy is dropped.

    Args:
        path: Where the store goes.
        sizes: Lengths of the dimensions.
        values: Arrays of the coordinate and static variables, by name.
        attributes: What the store says of itself (identity, data set, sample).
    """
    if path.exists():
        return
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.partial")
    try:
        _fill(temporary, sizes, values, attributes)
        for folder, _, files in os.walk(temporary):
            for file in files:
                _sync_file(Path(folder) / file)
            sync_folder(Path(folder))
        _rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(path.parent)


def _fill(path: Path, sizes: Sizes, values: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
    group = zarr.create_group(path, zarr_format=3, attributes=dict(attributes))
    for name, variable in schema.VARIABLES.items():
        array = _create_array(group, name, variable, sizes)
        if variable.written_by in ("coordinate", "static"):
            array[...] = _as_array(values[name], variable)
    _consolidate(path)


def _create_array(group: zarr.Group, name: str, variable: Variable, sizes: Sizes) -> zarr.Array[Any]:
    coordinates = [
        other
        for other, v in schema.VARIABLES.items()
        if v.written_by == "coordinate" and other not in v.dims and set(v.dims) <= set(variable.dims)
    ]
    attributes: dict[str, Any] = {"description": variable.description, "units": variable.units}
    if variable.written_by != "coordinate" and coordinates:
        attributes["coordinates"] = " ".join(coordinates)  # CF: how xarray learns that `step` is one
    return group.create_array(
        name,
        shape=sizes.of(variable.dims),
        dtype=variable.dtype,
        chunks=schema.chunk_shape(variable, sizes, single=variable.chunk),
        shards=None
        if variable.shard is None
        else schema.chunk_shape(variable, sizes, single=variable.shard),
        fill_value=variable.fill,
        dimension_names=variable.dims,
        attributes=attributes,
        **_codecs(variable.dtype),
    )


def _codecs(dtype: str) -> dict[str, Any]:
    if dtype == "string":
        return {"compressors": [zarr.codecs.ZstdCodec(level=3, checksum=True)]}
    size = np.dtype(dtype).itemsize
    # Bytes of equal significance lie together: statistics of one layer are alike in sign and exponent.
    blosc = BloscCodec(cname="zstd", clevel=5, shuffle="shuffle", typesize=size)
    return {"serializer": BytesCodec(endian="little"), "compressors": [blosc, Crc32cCodec()]}


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


def _rename(temporary: Path, path: Path) -> None:
    try:
        temporary.rename(path)
    except OSError:
        if not path.exists():
            raise
