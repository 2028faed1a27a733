"""Objects named as text, `package.module:object`: how registries and settings name what is imported when used."""

from __future__ import annotations

import importlib
from typing import Any


def load_object(reference: str) -> Any:
    """Import `package.module:object` and return the object.

    Raises:
        ImportError: There is no such module, or importing it fails.
        AttributeError: The module has no such object.
    """
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)
