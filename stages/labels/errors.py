"""What goes wrong with labels, as errors that a user can mend."""

from __future__ import annotations

from storage_schema.errors import UserError


class LabelError(UserError, ValueError):
    """A label file that is missing, of another format or unit; the message names the value and the remedy."""
