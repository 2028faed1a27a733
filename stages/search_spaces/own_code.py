"""The code of a user's own search space: where it is, and what is in it, without importing it."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import Final

from stages.search_spaces.errors import SpaceError

_REFERENCE: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_own(name: str) -> bool:
    """Tell whether a name has the form `package.module:Class`."""
    return _REFERENCE.fullmatch(name) is not None


def make_importable(name: str) -> None:
    """Let Python look into the working directory too, and last, for a module that is found nowhere else."""
    if is_own(name) and _spec(_top(name)) is None and "" not in sys.path:
        sys.path.append(str(Path.cwd()))


def modules(name: str) -> tuple[str, ...]:
    """Return the top-level module of an own space; none for the spaces of the package."""
    make_importable(name)
    return (_top(name),) if is_own(name) else ()


def root(name: str) -> Path:
    """Return the folder of the top-level package, or the single file, that holds an own space.

    Raises:
        SpaceError: It is not found, or is no Python source.
    """
    make_importable(name)
    spec = _spec(_top(name))
    if spec is None:
        raise SpaceError(
            f"architectures.space = {name!r}: no module {_top(name)!r} in {Path.cwd()} or on PYTHONPATH; "
            "run where it is found"
        )
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    if spec.origin is None or not spec.origin.endswith(".py"):
        raise SpaceError(f"architectures.space = {name!r}: {_top(name)!r} is no Python source file")
    return Path(spec.origin)


def digests(name: str) -> dict[str, str]:
    """Return by name the SHA-256 (16 digits) of every Python file of an own space's package, or of its file.

    Raises:
        SpaceError: As `root`.
    """
    start = root(name)
    files = [start] if start.is_file() else sorted(start.rglob("*.py"))
    return {
        str(file.relative_to(start.parent)): hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        for file in files
    }


def _top(name: str) -> str:
    return name.partition(":")[0].partition(".")[0]


def _spec(module: str) -> importlib.machinery.ModuleSpec | None:
    try:
        return importlib.util.find_spec(module)  # of a top-level name nothing is imported for it
    except (ImportError, ValueError):
        return None
