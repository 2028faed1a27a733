"""The search spaces by name; a further one is a file and a line here, one of one's own needs neither."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from stages.loading import load_object
from stages.search_spaces import own_code
from stages.search_spaces.errors import SpaceError
from stages.search_spaces.space import SearchSpace
from stages.settings import nearest

SPACES: Final[dict[str, str]] = {
    "nasbench201": "stages.search_spaces.nasbench201.space:NASBench201",
}
"""Where each class is; it is imported when it is used."""
_FILES: Final = "architectures.space_files"
_VERSION: Final = "architectures.space_version"


def check_name(name: str) -> None:
    """Check that a name is one of `SPACES` or has the form of a user's own, `package.module:Class`.

    Raises:
        SpaceError: It is neither; the nearest name is named.
    """
    if name in SPACES or own_code.is_own(name):
        return
    near = nearest(name, SPACES)
    hint = f"did you mean {near}?" if near else f"use {', '.join(SPACES)},"
    raise SpaceError(
        f"architectures.space = {name!r} is no search space; {hint} or package.module:Class of your own"
    )


@lru_cache(maxsize=16)
def open_space(name: str, channels: int, cells_per_stage: int) -> SearchSpace:
    """Return the space of a name, one instance for the same arguments; a user's own module is imported.

    Raises:
        SpaceError: The module cannot be imported, or holds no such class, or one that lacks a method.
    """
    check_name(name)
    own_code.make_importable(name)
    kind = _class(name)
    try:
        space: SearchSpace = kind(channels, cells_per_stage)
    except Exception as error:  # a user's code may raise anything
        raise SpaceError(f"architectures.space = {name!r}: {_line(error)}; correct its class") from error
    return space


def facts(name: str) -> dict[str, Any]:
    """Return what of a space's code decides results, for the identity; nothing for a built-in one of version 1.

    Raises:
        SpaceError: The code of a user's own space is not found.
    """
    if own_code.is_own(name):
        return {_FILES: own_code.digests(name)}
    version = _class(name).version
    return {} if version == 1 else {_VERSION: version}


def recorded(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of `facts` is among the settings of an identity."""
    return {key: value for key, value in settings.items() if key in (_FILES, _VERSION)}


@lru_cache(maxsize=16)
def check_code(name: str, made_with: str) -> None:
    """Compare the code of a space with what an experiment was made with.

    Args:
        name: Of the space.
        made_with: What `recorded` returned, as JSON.

    Raises:
        SpaceError: They differ; the files or versions are named.
    """
    here, there = facts(name), json.loads(made_with)
    if here == there:
        return
    if not own_code.is_own(name):
        raise SpaceError(
            f"search space {name} has version {_class(name).version} here, and had version "
            f"{there.get(_VERSION, 1)} when the experiment was made; use the package of then"
        )
    before, now = there.get(_FILES, {}), here[_FILES]
    changed = [f"{file} {_state(before.get(file), now.get(file))}" for file in sorted({*before, *now})]
    raise SpaceError(
        f"the code of {name} is not what the experiment was made with "
        f"({', '.join(line for line in changed if not line.endswith(' '))}); restore it, or make another experiment"
    )


def _state(before: str | None, now: str | None) -> str:
    if before == now:
        return ""
    return "is new" if before is None else "is missing" if now is None else "has changed"


def _class(name: str) -> type[SearchSpace]:
    try:
        kind = load_object(SPACES.get(name, name))
    except Exception as error:  # importing a user's module runs it
        raise SpaceError(
            f"architectures.space = {name!r} cannot be imported ({_line(error)}); "
            "correct it, or run where its module is found (the working directory or PYTHONPATH)"
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, SearchSpace)):
        raise SpaceError(
            f"architectures.space = {name!r} is no subclass of stages.search_spaces.space.SearchSpace; derive it"
        )
    lacking = sorted(getattr(kind, "__abstractmethods__", ()))
    if lacking or not isinstance(getattr(kind, "name", None), str):
        raise SpaceError(
            f"architectures.space = {name!r} lacks {', '.join(lacking) or 'a name'}; add it to the class"
        )
    return kind


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
