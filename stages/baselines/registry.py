"""The methods by name; a new one is a module beside this and a line here (docs/extending.md)."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Final

from stages.baselines.cell_trees import CELL_TREES, CELL_TREES_WITH_PROXIES
from stages.baselines.early_stop import EARLY_STOP
from stages.baselines.lc_pfn import lc_pfn
from stages.baselines.lce_m import LCE_M
from stages.baselines.lcsvr import LCSVR
from stages.baselines.method import Method
from stages.baselines.omni_ngb import OMNI_NGB
from stages.baselines.omni_seminas import OMNI_SEMINAS
from stages.baselines.references import REFERENCES
from stages.baselines.seminas import SEMINAS
from stages.baselines.sotl import SOTL, SOTL_E, SOTL_EMA
from stages.baselines.zero_cost import ZERO_COST
from stages.settings import ConfigError

LC_PFN: Final = "LC-PFN"
METHODS: Final[dict[str, Method]] = {
    method.name: method
    for method in (
        *REFERENCES,
        CELL_TREES,
        CELL_TREES_WITH_PROXIES,
        *ZERO_COST,
        SOTL,
        SOTL_E,
        SOTL_EMA,
        EARLY_STOP,
        LCE_M,
        LCSVR,
        SEMINAS,
        OMNI_SEMINAS,
        OMNI_NGB,
        lc_pfn(None),
    )
}
"""In the order of `pipeline baselines list`."""
DEFAULT: Final = tuple(name for name in METHODS if name != LC_PFN)


def find(name: str) -> str:
    """Return a method's name as it is written here; case plays no role.

    Raises:
        ConfigError: There is none.
    """
    known = {each.lower(): each for each in METHODS}
    wanted = name.strip().lower()
    if wanted not in known:
        near = difflib.get_close_matches(wanted, known, n=1)
        hint = f"did you mean {known[near[0]]!r}? " if near else ""
        raise ConfigError(f"unknown method {name.strip()!r}; {hint}see: pipeline baselines list")
    return known[wanted]


def resolve(name: str, weights: Path | None, trust_pickle: bool) -> Method:
    """Return a method as the settings want it: LC-PFN with its weights."""
    return lc_pfn(weights, trust_pickle) if name == LC_PFN else METHODS[name]
