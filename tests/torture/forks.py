"""Runs of the product in forked processes, struck or not, and what they leave behind."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import pickle
import pkgutil
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interposed import Interposer, Operation, Strike

import stages
from pipeline import cli
from pipeline.experiment import load
from pipeline.registry import STAGES
from pipeline.verify import find_shared, verify_digests
from stages.experiment import Experiment
from storage_schema.durable import PARTIAL

SETTINGS = ("architectures.number=20", "recording.snapshots=2", "cae.epochs=1", "bigru.epochs=2")
LIMIT = 300.0
"""Seconds after which a run hangs."""
TIMED = ("seconds", "provenance")
"""What differs between two runs of the same work."""


def load_modules(names: Iterable[str]) -> None:
    """Import what runs import late (an optimizer's compiler, what draws pictures) here, not in each fork again."""
    for name in names:
        with warnings.catch_warnings(), suppress(ImportError):
            warnings.simplefilter("ignore")
            importlib.import_module(name)


load_modules(module.name for module in pkgutil.walk_packages(stages.__path__, "stages."))


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run ended.

    Attributes:
        code: Exit code; negative: the signal that killed it.
        said: All it printed.
        count: Operations it made on files, those of a killed run unknown.
        modules: What it had imported in the end.
    """

    code: int
    said: str
    count: int = 0
    operations: tuple[Operation, ...] = ()
    modules: tuple[str, ...] = ()

    @property
    def killed(self) -> bool:
        """Whether it was killed."""
        return self.code == -signal.SIGKILL


def pipeline(
    root: Path,
    *words: str,
    strike: Strike | None = None,
    record: bool = False,
    kill_after: float | None = None,
) -> Ended:
    """Run `pipeline WORDS -e ROOT` in a forked process whose file operations are interposed."""
    said, counted = root.with_name(f"{root.name}.said"), root.with_name(f"{root.name}.counted")
    counted.unlink(missing_ok=True)
    said.write_text("")  # the kill may come before the fork has opened it
    pid = os.fork()
    if pid == 0:
        _child(root, words, strike, record, said, counted)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    status = _wait(pid)
    found = pickle.loads(counted.read_bytes()) if counted.exists() else (0, (), ())
    return Ended(code=status, said=said.read_text(), count=found[0], operations=found[1], modules=found[2])


def _child(
    root: Path, words: tuple[str, ...], strike: Strike | None, record: bool, said: Path, counted: Path
) -> None:
    code: Any = 99
    try:
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        sys.stdout = sys.stderr = os.fdopen(output, "w", buffering=1)
        interposer = Interposer(str(root.resolve()), strike, record)
        interposer.install()
        try:
            sys.argv = ["pipeline", *words, "-e", str(root)]
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        told = (interposer.count, tuple(interposer.operations), tuple(sys.modules))
        counted.write_bytes(pickle.dumps(told))
    finally:
        os._exit(code if isinstance(code, int) else 1)


def _wait(pid: int) -> int:
    end = time.monotonic() + LIMIT
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise AssertionError(f"a run hangs: still there after {LIMIT:.0f} s")
        time.sleep(0.002)


def copy(source: Path, folder: Path) -> Path:
    """Make a fresh copy of an experiment in a folder; its name, which tables show, is always the same."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder / "experiment")
    return folder / "experiment"


def contents(root: Path) -> dict[str, str]:
    """Return what counts of an experiment: digests of its files, and what its markers vouch for.

    Times of work and traces of kills are left out: two runs of the same work have the same contents.
    """
    found = {}
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        if not path.is_file() or PARTIAL in path.name or inside.parts[0] in ("leases", "damaged"):
            continue
        if inside.parts[0] == "markers":
            found[str(inside)] = _marker(path)
        elif not (inside.parts[0] in ("dynamics.zarr", "zero_cost.zarr") and inside.parts[1] in TIMED):
            found[str(inside)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _marker(path: Path) -> str:
    try:
        marker = json.loads(path.read_bytes())
    except ValueError:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    digests = {name: value for name, value in marker["digests"].items() if name.split("/")[0] not in TIMED}
    return json.dumps([marker["stage"], marker["index"], marker["identity"], digests], sort_keys=True)


def difference(found: dict[str, str], wanted: dict[str, str]) -> list[str]:
    """Name the files that differ."""
    return sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))


def findings(root: Path) -> list[str]:
    """Return what `verify` has to say of all stages."""
    experiment: Experiment = load(root)
    found = []
    for stage in STAGES.values():
        found += verify_digests(experiment, stage, range(stage.num_tasks(experiment)))
        found += map(str, find_shared(experiment, stage))
    return found


def temporaries(root: Path) -> list[Path]:
    """Return the temporary files that are left."""
    return [path for path in root.rglob("*") if PARTIAL in path.name]
