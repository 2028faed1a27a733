"""Results of before they were named after what they are: their files have the index of then for a name.

They count as long as that index still stands for the same, which the identity in the marker decides. Code of then may
still be at work from a cluster's queue: what it holds is left to it.

This may go, with everything named `before_keys`, once nobody opens experiments of before December 2026.
"""

from __future__ import annotations

from pathlib import Path

from storage_schema import lease
from storage_schema.layout import Layout, file_name


def marker_in_force(layout: Layout, stage: str, index: int, key: int | str) -> Path:
    """Return where the marker of an index is: named after its key, else after its position, as before keys."""
    named, before = layout.marker(stage, key), layout.marker(stage, index)
    return named if named.exists() or not before.exists() else before


def held(layout: Layout, stage: str, index: int, key: int | str) -> lease.Owner | None:
    """Return the living owner of the lease that code of before keys takes for an index, of a stage with keys."""
    return None if file_name(key) == file_name(index) else lease.held(layout.lease(stage, index))
