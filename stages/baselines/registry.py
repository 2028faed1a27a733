"""The methods by name; a new one is a module beside this and a line here (docs/extending.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from stages.baselines.method import Method
from stages.baselines.methods.lc_pfn import lc_pfn
from stages.loading import load_object
from stages.settings import ConfigError, nearest

LC_PFN: Final = "LC-PFN"
REGISTERED: Final = (
    "stages.baselines.methods.references:REFERENCES",
    "stages.baselines.methods.cell_trees:CELL_TREES",
    "stages.baselines.methods.cell_trees:CELL_TREES_WITH_PROXIES",
    "stages.baselines.methods.zero_cost:ZERO_COST",
    "stages.baselines.methods.sotl:SOTL",
    "stages.baselines.methods.sotl:SOTL_E",
    "stages.baselines.methods.sotl:SOTL_EMA",
    "stages.baselines.methods.early_stop:EARLY_STOP",
    "stages.baselines.methods.lce_m:LCE_M",
    "stages.baselines.methods.lcsvr:LCSVR",
    "stages.baselines.methods.seminas:SEMINAS",
    "stages.baselines.methods.omni_seminas:OMNI_SEMINAS",
    "stages.baselines.methods.omni_ngb:OMNI_NGB",
    "stages.baselines.methods.lc_pfn:WITHOUT_WEIGHTS",
)
"""Where each `Method`, or tuple of them, is, in the order of `pipeline baselines list`."""


def _methods(reference: str) -> tuple[Method, ...]:
    found: Method | tuple[Method, ...] = load_object(reference)
    return found if isinstance(found, tuple) else (found,)


METHODS: Final[dict[str, Method]] = {each.name: each for where in REGISTERED for each in _methods(where)}
DEFAULT: Final = tuple(name for name in METHODS if name != LC_PFN)


def find(name: str) -> str:
    """Return a method's name as it is written here; case plays no role.

    Raises:
        ConfigError: There is none.
    """
    known = {each.lower(): each for each in METHODS}
    wanted = name.strip().lower()
    if wanted not in known:
        near = nearest(wanted, known)
        hint = f"did you mean {known[near]!r}? " if near else ""
        raise ConfigError(f"unknown method {name.strip()!r}; {hint}see: pipeline baselines list")
    return known[wanted]


def resolve(name: str, weights: Path | None, trust_pickle: bool) -> Method:
    """Return a method as the settings want it: LC-PFN with its weights."""
    return lc_pfn(weights, trust_pickle) if name == LC_PFN else METHODS[name]
