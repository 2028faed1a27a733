"""Errors of search spaces."""

from __future__ import annotations

from storage_schema.errors import UserError


class SpaceError(UserError, ValueError):
    """A search space that cannot be used, or an architecture that is not in it."""
