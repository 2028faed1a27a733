"""What goes wrong with splits, as errors that a user can mend."""

from __future__ import annotations

from storage_schema.errors import UserError


class SplitError(UserError, ValueError):
    """Labels or numbers that no split can be made of; the message names the value and the remedy."""
