"""The proxies by name; a new one is a module beside this and a line here (docs/extending.md)."""

from __future__ import annotations

from typing import Final

from stages.loading import load_object
from stages.zero_cost.proxy import Proxy

_REFERENCES: Final = (
    "stages.zero_cost.synflow:SYNFLOW",
    "stages.zero_cost.gradients:GRADIENTS",
    "stages.zero_cost.naswot:NASWOT",
    "stages.zero_cost.jacov:JACOV",
    "stages.zero_cost.pnorm:PNORM",
    "stages.zero_cost.wrcor:WRCOR",
    "stages.zero_cost.az_nas:AZ_NAS",
    "stages.zero_cost.complexity:COMPLEXITY",
    "stages.zero_cost.vkdnw:VKDNW",
)

PROXIES: Final[dict[str, Proxy]] = {each.name: each for each in map(load_object, _REFERENCES)}
"""In the order of the store's columns; they are imported without torch."""
