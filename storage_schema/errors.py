"""The root of every error that a user can mend; the command line prints it as one line."""

from __future__ import annotations


class UserError(Exception):
    """A mistake of input or environment; the message names the offending value and the remedy."""
