"""A store of which nothing is seen but the arrays of its table, whatever else stands in its metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore


class KnownStore(LocalStore):
    """A store that is read without some of its members: they may be of a form that this Zarr does not know.

    Args:
        path: The store.
        others: The members that are not seen.
    """

    def __init__(self, path: Path, others: Sequence[str]) -> None:
        super().__init__(path, read_only=True)
        self._others = others

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Read one object; consolidated metadata without what is not seen."""
        found = await super().get(key, prototype, byte_range)
        if key != "zarr.json" or found is None:
            return found
        content = json.loads(found.to_bytes())
        for name in self._others:
            content["consolidated_metadata"]["metadata"].pop(name, None)
        return type(found).from_bytes(json.dumps(content).encode())
