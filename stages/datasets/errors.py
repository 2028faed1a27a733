"""What goes wrong with image data, as errors that a user can mend."""

from __future__ import annotations

from storage_schema.errors import UserError


class DataError(UserError, ValueError):
    """An image file that is missing, truncated, altered or of another format; the message names it."""
