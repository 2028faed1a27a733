"""What the result before still says of an architecture, when the proxies of today are not all those of then."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from stages.zero_cost.proxy import Proxy
from stages.zero_cost.registry import PROXIES

OF_PROXIES: Final = ("columns", "versions")
"""What says in the settings which numbers there are; all else decides every number."""
PARTS: Final = ("values", "notes", "proxy_seconds")
"""Of a result, by column."""


def kept_proxies(
    previous: Mapping[str, Any] | None,
    architecture: str,
    settings: str,
    proxies: Mapping[str, Proxy] = PROXIES,
) -> dict[str, Proxy]:
    """Return the proxies that an earlier result has numbers of, by the same version and with the same settings.

    Args:
        previous: The result, or None.
        architecture: Of the network of now.
        settings: `stages.zero_cost.columns.store_settings` of now.
        proxies: Those of now.
    """
    if previous is None or previous.get("architecture") != architecture:
        return {}
    then, now = json.loads(previous["settings"]), json.loads(settings)
    versions = then.get("versions", {})
    if _apart_from_proxies(then) != _apart_from_proxies(now):
        return {}
    return {
        name: proxy
        for name, proxy in proxies.items()
        if versions.get(name, 1) == proxy.version
        and all(column.name in previous["values"] for column in proxy.columns)
    }


def kept_numbers(previous: Mapping[str, Any] | None, kept: Mapping[str, Proxy]) -> dict[str, dict[str, Any]]:
    """Return values, notes and seconds of the columns of some proxies, as far as a result has them."""
    names = [column.name for proxy in kept.values() for column in proxy.columns]
    return {
        part: {name: previous[part][name] for name in names if name in previous[part]} if previous else {}
        for part in PARTS
    }


def _apart_from_proxies(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in OF_PROXIES}
