"""What can be wrong with a model or its training."""

from __future__ import annotations

from storage_schema.errors import UserError


class ModelError(UserError, ValueError):
    """A model that is not there, is damaged, or does not fit what it is to be used on."""


class LossError(UserError, ArithmeticError):
    """A loss that is not finite: training stops and says where."""
