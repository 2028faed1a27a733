"""The search spaces by name; a further one is a file and a line here, one of one's own needs neither."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from stages.loading import load_object
from stages.search_spaces.space import SearchSpace

SPACES: Final[dict[str, str]] = {
    "nasbench201": "stages.search_spaces.nasbench201.space:NASBench201",
}
"""Where each class is; it is imported when it is used."""


@lru_cache(maxsize=16)
def open_space(name: str, channels: int, cells_per_stage: int) -> SearchSpace:
    """Return the space of a name, one instance for the same arguments."""
    space: SearchSpace = load_object(SPACES.get(name, name))(channels, cells_per_stage)
    return space
