"""Every operation on a file fails, once and for good: one clear line, nothing lost, and a rerun completes."""

from __future__ import annotations

import errno
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import forks
import pytest
import scenes
from interposed import Strike

Often = Callable[[int, int], int]
Figure = Callable[[str], None]
ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT)


def test_a_failing_operation_is_one_line_and_a_rerun_completes(
    scene: scenes.Scene, draw: random.Random, tmp_path: Path, often: Often, figure: Figure
) -> None:
    points = sorted(draw.sample(range(scene.count), min(often(4, 1000), scene.count)))
    harmless, wrong = 0, []
    for number, at in enumerate(points):
        for persistent in (False, True):
            kind = "short" if number % 5 == 4 else "fail"
            error = ERRORS[(number + persistent) % len(ERRORS)]
            strike = Strike(kind=kind, at=at, error=error, persistent=persistent)
            root = forks.copy(scene.before, tmp_path / "struck")
            ended = scene.run(root, strike=strike)
            # What fails may not have been needed: a lease given up, a file already gone.
            unharmed = ended.code == scene.code and not forks.difference(forks.contents(root), scene.after)
            harmless += unharmed
            wrong += [f"{strike}: {fault}" for fault in faults(ended, unharmed, scene, root)]
    assert wrong == []
    figure(
        f"failed operations: {scene.name}: {len(points)} of {scene.count}, once and for good; "
        f"{harmless} of {2 * len(points)} runs came to their end all the same"
    )


def faults(ended: forks.Ended, unharmed: bool, scene: scenes.Scene, root: Path) -> list[str]:
    """Say what is wrong with how a struck run ended, and with what the next one makes of it."""
    found = [f"a traceback: {ended.said}"] if "Traceback" in ended.said else []
    if not unharmed:
        found += [f"it ends with {ended.code}: {ended.said}"] if ended.code in (0, -signal.SIGKILL) else []
        clear = re.search(r"No space|Input/output|Read-only|quota", ended.said)
        found += [] if clear else [f"the error is not told: {ended.said}"]
    complaint = scenes.complaint(scene, root)
    return [*found, complaint] if complaint else found


def calls_of(trace: str) -> list[str]:
    """Each call in one line; strace cuts those in two during which another thread was at work."""
    found, begun = list[str](), dict[str, str]()
    for line in trace.splitlines():
        thread = line.split()[0]
        if line.endswith("<unfinished ...>"):
            begun[thread] = line.removesuffix("<unfinished ...>")
        elif "resumed>" in line:
            found.append(begun.pop(thread, "") + line.partition("resumed>")[2])
        else:
            found.append(line)
    return found


@pytest.mark.parametrize("stage", ["collect", "evaluate"])
def test_nothing_is_written_past_the_interposer(
    stage: str, prepared: dict[str, scenes.Scene], tmp_path: Path
) -> None:
    """The kernel's own record of what was opened for writing, renamed and synced, beside the interposer's."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    scene = prepared[stage]
    root, trace = forks.copy(scene.before, tmp_path / "traced"), tmp_path / "trace"
    calls = "trace=openat,open,creat,rename,renameat,renameat2,fsync,fdatasync,mkdir,mkdirat"
    command = ["strace", "-f", "-y", "-qq", "-e", calls, "-o", str(trace), sys.executable, "-m", "pipeline"]
    done = subprocess.run([*command, *scene.words, "-e", str(root)], capture_output=True, check=False)
    if "ptrace" in done.stderr.decode().lower():
        pytest.skip("processes cannot be traced here")
    inside = [line for line in calls_of(trace.read_text()) if str(root) in line and " = -1" not in line]
    opened = [line for line in inside if re.search(r"O_CREAT|O_TRUNC", line)]
    seen = forks.pipeline(forks.copy(scene.before, tmp_path / "seen"), *scene.words, record=True).operations
    for name, lines in {
        "rename": [line for line in inside if "rename" in line],
        "fsync": [line for line in inside if "sync(" in line],
        "mkdir": [line for line in inside if "mkdir" in line],
    }.items():
        assert len(lines) == sum(each.name == name for each in seen), name
    created = sum(each.name in ("create", "truncate") for each in seen)
    assert created <= len(opened) <= created + sum("lock" in line for line in opened)
