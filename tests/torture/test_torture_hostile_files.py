"""Files that others made, damaged or meant badly: one line or a result, never a traceback, a hang or full memory."""

from __future__ import annotations

import os
import random
import resource
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import readers
from memory import peak
from mutations import mutate
from readers import KEYS, Reader
from workshop import furnish

from pipeline import cli
from slurm import controller
from slurm.errors import SlurmError
from storage_schema.errors import UserError
from storage_schema.layout import Layout

ONE_LINE = (UserError, SlurmError, OSError)
"""What `pipeline.cli.main` turns into one line."""
SECONDS = 20
ROOM = 2 * 2**30
"""Bytes that one process may take beyond what it has."""
PAGE = resource.getpagesize()


class HangError(BaseException):
    """A reader took too long; no `except Exception` of the product may swallow it."""


@pytest.fixture(scope="module")
def workshop(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile")
    furnish(root, finished)
    return root


@pytest.fixture(autouse=True)
def no_queue(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(workshop / "config"))
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(controller, "job_named", lambda name: [])
    monkeypatch.setattr(controller, "cancel", lambda targets, pending_only=False: None)


@pytest.fixture
def little_memory() -> Iterator[None]:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * PAGE
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_the_command_line_turns_just_these_into_one_line() -> None:
    source = Path(cli.__file__).read_text()
    assert "except (UserError, SlurmError) as error" in source
    assert "except OSError as error" in source


def test_no_hostile_file_makes_a_traceback(
    workshop: Path,
    little_memory: None,
    often: Callable[[int, int], int],
    torture_seed: int,
    figure: Callable[[str], None],
) -> None:
    known = readers.readers()
    others = [(workshop / each.path).read_bytes()[:65_536] for each in known]
    for each in known:
        each.read(workshop)
    told, refused, defects = 0, 0, Counter[str]()
    peak()
    before = peak()
    number = often(2_500, 60_000)
    weights = [each.weight for each in known]
    for case in range(number):
        random_ = random.Random(f"{torture_seed} {case}")
        reader = random_.choices(known, weights)[0]
        outcome = _outcome(reader, workshop, random_, others)
        told += 1
        refused += outcome == "refused"
        if outcome not in ("refused", "read"):
            defects[f"{reader.name}: {outcome}"] += 1
    grown = (peak() - before) / 2**20
    figure(
        f"hostile files: {told:,} inputs to {len(known)} kinds of file, {refused:,} refused in one line, "
        f"{sum(defects.values())} tracebacks or hangs, {grown:.0f} MiB more at the peak"
    )
    assert not defects, "\n".join(f"{count} x {what}" for what, count in defects.most_common())
    assert grown < 1024


def _outcome(reader: Reader, workshop: Path, random_: random.Random, others: list[bytes]) -> str:
    """Put a hostile file in the place of a valid one, read it, and put everything back."""
    path = workshop / reader.path
    kept = _kept(workshop, reader)
    try:
        path.write_bytes(mutate(random_, path.read_bytes(), reader.kind, others))
        reader.seal(workshop)
        return _read(reader, workshop)
    finally:
        for file, content in kept.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


def _kept(workshop: Path, reader: Reader) -> dict[Path, bytes]:
    """Everything small that sealing or reading may change, and the file itself."""
    sealed = ["e/identity.json", "e/labels.csv", "e/splits/report.json", "e/leases/collect/00000.json"]
    sealed += [str(Layout(Path("e")).marker(stage, KEYS[stage])) for stage in ("bigru", "cae")]
    sealed += ["e/splits/architectures.json"]
    sealed += (
        [f"{reader.path.split('/')[0]}/manifest.sha256.json"] if reader.name.startswith("data, ") else []
    )
    sealed += [str((workshop / reader.path).with_name("card.json").relative_to(workshop))]
    files = [workshop / name for name in (*sealed, reader.path)]
    return {file: file.read_bytes() for file in files if file.is_file()}


def _read(reader: Reader, workshop: Path) -> str:
    def too_long(_number: int, _frame: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        reader.read(workshop)
    except ONE_LINE as error:
        return "refused" if str(error).strip() else f"an empty line of {type(error).__name__}"
    except HangError as error:
        return f"hangs at {_place(error)}"
    except Exception as error:  # noqa: BLE001  all of them are what is looked for
        return f"{type(error).__name__} at {_place(error)}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return "read"


def _place(error: BaseException) -> str:
    """The last line of the product that an error passed through."""
    root = Path(cli.__file__).parents[1]
    ours = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(root)
    ]
    ours = [
        frame for frame in ours if "site-packages" not in frame.filename and "/tests/" not in frame.filename
    ]
    where = f"{Path(ours[-1].filename).relative_to(root)}:{ours[-1].lineno}" if ours else "the test itself"
    return f"{where}: {str(error)[:80]}"
