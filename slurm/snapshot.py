"""The code of a submission: a copy beside it, so that a task in the queue never runs what was edited since."""

from __future__ import annotations

import hashlib
import importlib.util
import shlex
import shutil
import uuid
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from slurm.errors import SlurmError

PACKAGES: Final = ("pipeline", "slurm", "stages", "storage_schema")


@cache
def take(folder: Path, own: tuple[str, ...] = ()) -> Path:
    """Copy the code that runs now into a folder named after its content; returns that folder.

    Args:
        folder: Where copies are kept; one that is there already is used again.
        own: Top-level modules of the user's that the work needs: packages, or single files.
    """
    sources = _sources(_roots(own))
    target = folder / _digest(sources)
    if not target.is_dir():
        temporary = folder / f"{target.name}.{uuid.uuid4().hex[:8]}.partial"
        for name, source in sources.items():
            copy = temporary / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
        try:
            temporary.rename(target)
        except OSError:  # somebody was faster
            shutil.rmtree(temporary, ignore_errors=True)
            if not target.is_dir():
                raise
    return target


def setup(code: Path) -> list[str]:
    """Return the shell commands with which a task finds that code, and no other.

    Without safe-path, Python would look into the directory of the submission first.
    """
    return [f"export PYTHONPATH={shlex.quote(str(code))} PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1"]


def check_running(digest: str, own: tuple[str, ...] = ()) -> None:
    """Check that this process runs the code that a digest names; `own` is as in `take`.

    Raises:
        SlurmError: It runs other code.
    """
    roots = _roots(own)
    found = _digest(_sources(roots))
    if found != digest:
        raise SlurmError(
            f"this task was submitted with code {digest} and finds {found} in {roots[0].parent}; "
            "run the pipeline command again to submit it anew"
        )


def _roots(own: Sequence[str]) -> list[Path]:
    roots = []
    for name in (*PACKAGES, *own):
        found = importlib.util.find_spec(name)
        if found is not None and found.submodule_search_locations:
            roots.append(Path(found.submodule_search_locations[0]))
        elif found is not None and found.origin and name in own:
            roots.append(Path(found.origin))
        else:
            raise SlurmError(f"package {name} is not installed as source; install it again")
    return roots


def _sources(roots: Sequence[Path]) -> dict[str, Path]:
    return {
        str(path.relative_to(root.parent)): path
        for root in roots
        for path in ([root] if root.is_file() else sorted(root.rglob("*")))
        if path.suffix in (".py", ".toml") and path.is_file()
    }


def _digest(sources: dict[str, Path]) -> str:
    hasher = hashlib.sha256()
    for name, path in sorted(sources.items()):
        content = path.read_bytes()
        hasher.update(f"{name}\0{len(content)}\0".encode())
        hasher.update(content)
    return hasher.hexdigest()[:16]
