"""Hundreds of architectures in one process, and a store of the whole space: memory, open files and system calls."""

from __future__ import annotations

import ctypes
import gc
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import store_traffic

from pipeline.execute import EXIT_DONE, execute
from pipeline.experiment import initialize
from pipeline.registry import STAGES
from stages.experiment import Experiment
from stages.recording.config import RecordingConfig
from storage_schema import markers, schema
from storage_schema.write import TASK_ARRAYS, ArchitectureWriter, object_path

Often = Callable[[int, int], int]
Figure = Callable[[str], None]
COLLECT = STAGES["collect"]
WARM = 5  # architectures after which everything is loaded and every pool has its size
GROWTH = 24.0  # megabytes that an allocator may keep; a network of this test has less than one
EVERYTHING = 15_625


@dataclass(frozen=True)
class Held:
    """What a process holds after each piece of work: megabytes in memory and open files."""

    megabytes: list[float]
    files: list[int]

    @property
    def growth(self) -> float:
        """Megabytes from the end of warming up to the end."""
        return self.megabytes[-1] - self.megabytes[WARM - 1]

    def faults(self) -> list[str]:
        late = self.files[WARM - 1 :]
        faults = [] if max(late) == late[0] else [f"open files went from {late[0]} to {max(late)}"]
        return faults + ([] if self.growth < GROWTH else [f"memory grew by {self.growth:.0f} MB"])


def held(work: Callable[[int], Any], count: int) -> Held:
    """Do so many pieces of work in one process of their own, and measure after each."""
    receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            receiver.close()
            # What this process has freed and kept is given back: a leak could fill it unseen.
            ctypes.CDLL(None).malloc_trim(0)
            found = Held([], [])
            for index in range(count):
                work(index)
                gc.collect()
                found.megabytes.append(resident())
                found.files.append(len(os.listdir("/proc/self/fd")))  # noqa: PTH208  nothing but the number
            sender.send(found)
            code = 0
        finally:
            os._exit(code)
    sender.close()
    try:
        return receiver.recv()
    finally:
        assert os.waitpid(pid, 0)[1] == 0


def resident() -> float:
    """Megabytes of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_many_architectures_in_one_process_leave_nothing_behind(
    tmp_path: Path, often: Often, figure: Figure
) -> None:
    count = often(20, 300)
    settings = (f"architectures.number={count}", "recording.interval=1", "recording.snapshots=1")
    experiment = initialize(tmp_path / "experiment", "smoke", settings)
    COLLECT.prepare(experiment)

    def work(index: int) -> None:
        assert execute(experiment, COLLECT, index) == EXIT_DONE

    start, found = time.monotonic(), held(work, count)
    assert found.faults() == []
    figure(
        f"{count} architectures in one process in {time.monotonic() - start:.0f} s: {found.files[-1]} open files "
        f"as after the {WARM}th, memory {found.growth:+.1f} MB since"
    )


@pytest.mark.parametrize("leak", ["file", "memory"])
def test_negative_control_a_leak_is_noticed(leak: str) -> None:
    kept: list[object] = []

    def work(index: int) -> None:
        kept.append(os.open("/dev/null", os.O_RDONLY) if leak == "file" else b"x" * 4_000_000)

    assert held(work, 2 * WARM + 5).faults()
    assert held(lambda index: None, WARM + 1).faults() == []


@dataclass(frozen=True)
class WholeSpace:
    """An experiment whose plan is the whole space, with so many of its architectures finished."""

    experiment: Experiment
    finished: int

    def measure(self, operation: str) -> dict[str, Any]:
        script = Path(__file__).with_name("measured.py")
        told = subprocess.run(
            [sys.executable, "-W", "error", str(script), operation, str(self.experiment.layout.root)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert told.returncode == 0, told.stderr
        return json.loads(told.stdout)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory, often: Often) -> Any:
    """Full-size networks and 23 snapshots; the files of all are one file under many names."""
    root, finished = tmp_path_factory.mktemp("space") / "experiment", often(300, EVERYTHING)
    settings = (f"architectures.number={EVERYTHING}", "architectures.channels=16")
    settings += ("architectures.cells_per_stage=5", "recording.interval=5", "recording.snapshots=23")
    experiment = initialize(root, "demo", settings)
    COLLECT.prepare(experiment)
    layout, writer = experiment.layout, ArchitectureWriter(experiment.layout.dynamics, 0)
    for kind, rows in store_traffic.maps(experiment, 0).items():
        writer.write(kind, rows)
    count = len(experiment.settings(RecordingConfig).steps)
    writer.write("curves", store_traffic.curves(experiment, 0, count))
    layout.markers("collect").mkdir(parents=True)
    digests = writer.digests()
    for index in range(finished):
        for name in TASK_ARRAYS if index else ():
            path = object_path(layout.dynamics, name, index)
            path.parent.mkdir(parents=True)
            path.hardlink_to(object_path(layout.dynamics, name, 0))
        marker = markers.Marker(
            stage="collect",
            index=index,
            identity=experiment.identity,
            fence=1,
            digests=digests,
            result={"diverged": False, "seconds": {a: [0.5] * count for a in schema.ACTIVITIES}},
            provenance={"host": "node" * 100},
        )
        layout.marker("collect", index).write_text(
            json.dumps(asdict(marker), indent=1)
        )  # not fsynced: no test of it
    yield WholeSpace(experiment, finished)
    shutil.rmtree(root)  # some hundred thousand folders


@pytest.mark.parametrize(
    ("operation", "megabytes", "once", "each"),
    [
        ("open", 50, 150, 0),
        ("load", 50, 20, 0),
        ("status", 150, 50, 1),
        ("status of all", 150, 100, 1),
        ("verify", 150, 50, 7),  # two looks at the marker, one for a checkpoint, four files
        ("gather", 250, 150, 1),
    ],
)
def test_the_whole_space_is_within_bounds(
    operation: str, megabytes: int, once: int, each: int, space: WholeSpace, figure: Figure
) -> None:
    """Memory, and opened files: some once, and so many for each finished architecture."""
    found = space.measure(operation)
    used = found["megabytes"] - found["before"]
    assert found["found"] in (EVERYTHING, space.finished, 1)
    assert used < megabytes
    assert found["opens"] <= once + each * space.finished
    assert found["listings"] <= 40
    stats_each = 3 if operation == "verify" else 0
    assert found["stats"] <= 100 + stats_each * EVERYTHING
    figure(
        f"{EVERYTHING:,} architectures, {space.finished:,} finished: {operation}: {found['seconds']:.2f} s, "
        f"{used:.0f} MB, {found['opens']:,} opens, {found['stats']:,} stats, {found['listings']} listings"
    )
