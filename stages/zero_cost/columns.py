"""The table of what is stored: every number, and what decides it. No torch here."""

from __future__ import annotations

import json
from typing import Any, Final

from stages.settings import identity_settings
from stages.zero_cost.config import ZeroCostConfig
from stages.zero_cost.proxy import Column
from stages.zero_cost.registry import PROXIES

VERSION: Final = 2
"""Raised when what all proxies are given changes; a proxy whose own numbers change raises its own version."""

COLUMNS: Final[dict[str, Column]] = {each.name: each for proxy in PROXIES.values() for each in proxy.columns}
"""By name, in the order of the store."""


def column_settings(config: ZeroCostConfig) -> dict[str, Any]:
    """Return what the proxies look at, and which numbers there are."""
    found = {**identity_settings(config), "columns": list(COLUMNS), "version": VERSION}
    # A first version is not named: what was computed before proxies had versions is of the first.
    versions = {name: proxy.version for name, proxy in PROXIES.items() if proxy.version != 1}
    return found | ({"versions": versions} if versions else {})


def store_settings(config: ZeroCostConfig, identity: str) -> str:
    """Return what decides the numbers in the store, as the store itself says it in its attributes.

    Args:
        config: Of the proxies.
        identity: Of the experiment.
    """
    return json.dumps({"experiment": identity, **column_settings(config)}, sort_keys=True)
