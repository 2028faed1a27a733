"""Writers, plain readers, `status` and `predict` on one store at the same time; and two schedulers at once."""

from __future__ import annotations

import multiprocessing
import queue
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import store_traffic
from rich.console import Console
from store_traffic import Filling, KnownLabels, Traffic

from pipeline import predict as prediction
from pipeline.execute import EXIT_DONE
from pipeline.experiment import initialize, load
from pipeline.registry import STAGES
from pipeline.run import RunOptions, run_stage
from pipeline.status import stage_status
from pipeline.verify import verify_digests
from stages.experiment import Experiment
from stages.recording.recorder import Recorder
from storage_schema import durable, markers
from storage_schema.read import open_dynamics

Often = Callable[[int, int], int]
Figure = Callable[[str], None]
FORK = multiprocessing.get_context("fork")
COLLECT = STAGES["collect"]
WRITERS, PLAIN_READERS = 4, 4


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """Models that are trained on known values."""
    experiment = initialize(
        tmp_path_factory.mktemp("source") / "source",
        "smoke",
        ("architectures.number=20", "cae.epochs=1", "inputs.variants=maps"),
    )
    stages = {**STAGES, "collect": Filling(), "labels": KnownLabels()}
    wanted = {"cae": [0, 1], "embed": [0], "bigru": [0]}  # those of the first trial
    for name in ("collect", "labels", "split", "cae", "embed", "bigru"):
        code = run_stage(
            experiment, stages[name], wanted.get(name), RunOptions(cluster="inline"), Console(quiet=True)
        )
        assert code == EXIT_DONE
    return experiment


def target(folder: Path, number: int) -> Experiment:
    experiment = initialize(folder / "target", "smoke", (f"architectures.number={number}",))
    COLLECT.prepare(experiment)
    return experiment


@contextmanager
def running(traffic: Traffic, *works: Callable[[], None]) -> Iterator[None]:
    """Processes that begin here and end when the traffic's time is over."""
    processes = [FORK.Process(target=work) for work in works]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.join(120)
            process.kill()


def drained(found: Any) -> list[Any]:
    items = []
    while True:
        try:
            items.append(found.get(timeout=0.2))
        except queue.Empty:
            return items


def test_readers_beside_writers_see_whole_snapshots_and_no_error(
    source: Experiment, tmp_path: Path, often: Often, torture_seed: int, figure: Figure
) -> None:
    experiment = target(tmp_path, often(500, 10_000))
    model = prediction.find_model(str(source.layout.root), None, "maps")
    opened, start = FORK.Value("l", 0), time.monotonic()
    least, seconds = often(40, 1_000), often(20, 180)

    def go_on() -> bool:
        return time.monotonic() - start < seconds or (
            opened.value < least and time.monotonic() - start < 10 * seconds
        )

    traffic = Traffic(experiment, go_on, opened, FORK.Queue())
    scores = [FORK.SimpleQueue() for _ in range(2)]
    with running(
        traffic,
        *[lambda: store_traffic.write(traffic, 0.02)] * WRITERS,
        *[lambda n=n: store_traffic.read_plainly(traffic, torture_seed + n) for n in range(PLAIN_READERS)],
        lambda: store_traffic.watch(traffic),
        lambda: store_traffic.watch_by_command(traffic),
        *[lambda found=found: store_traffic.rank(traffic, model, found) for found in scores],
    ):
        seen = [found.get() for found in scores]
    assert drained(traffic.faults) == []
    assert opened.value >= least
    status = stage_status(experiment, COLLECT)
    done = status.indices["done"]
    assert len(done) > 10
    assert status.failures == {}
    assert verify_digests(experiment, COLLECT, done) == []
    after = {row["index"]: row["score"] for row in prediction.rank(experiment, model, None).rows}
    for found in seen:
        np.testing.assert_allclose([after[i] for i in found], list(found.values()), rtol=1e-5, atol=1e-6)
    assert any(seen)
    figure(
        f"traffic: {WRITERS} writers, {PLAIN_READERS} plain readers, 2 status, 2 predict for "
        f"{time.monotonic() - start:.0f} s: {len(done)} architectures written, {opened.value:,} opens, "
        f"up to {max(map(len, seen))} ranked meanwhile, 0 errors, 0 torn snapshots"
    )


def in_place(path: Path, content: Any) -> None:
    """Write as `open(path, 'wb')` would, not too fast."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = bytes(content)
    with path.open("wb") as file:
        file.write(content[: len(content) // 2])
        file.flush()
        time.sleep(0.02)
        file.write(content[len(content) // 2 :])


def curves_first(self: Recorder, writer: Any) -> None:
    writer.write("curves", self.curves)
    time.sleep(0.02)
    for kind, rows in self.maps.items():
        writer.write(kind, rows)


@pytest.mark.parametrize("wrong", ["written in place", "curves first"])
def test_negative_control_a_wrong_writer_is_noticed(
    wrong: str, tmp_path: Path, torture_seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = target(tmp_path, 300)
    if wrong == "written in place":
        monkeypatch.setattr(durable, "write", in_place)
    else:
        monkeypatch.setattr(Recorder, "flush", curves_first)
    faults, end = FORK.Queue(), time.monotonic() + 20
    traffic = Traffic(
        experiment, lambda: time.monotonic() < end and faults.empty(), FORK.Value("l", 0), faults
    )
    with running(
        traffic,
        lambda: store_traffic.write(traffic, 0.01),
        lambda: store_traffic.read_plainly(traffic, torture_seed),
    ):
        pass
    assert drained(faults)


def test_two_schedulers_at_once_do_every_index_once(tmp_path: Path, often: Often, figure: Figure) -> None:
    number, races = 4, often(1, 8)
    settings = (f"architectures.number={number}",)
    alone = initialize(tmp_path / "alone", "smoke", settings)
    assert run_stage(alone, COLLECT, None, RunOptions(cluster="inline"), Console(quiet=True)) == EXIT_DONE
    for race in range(races):
        root = tmp_path / str(race)
        initialize(root, "smoke", settings)
        command = [sys.executable, "-m", "pipeline", "run", "-e", str(root), "--stage", "collect"]
        both = [
            subprocess.Popen(
                [*command, "--cluster", "local", "--workers", "2"], stderr=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        said = [process.communicate()[1] for process in both]
        assert [process.returncode for process in both] == [0, 0], said
        together = load(root)
        assert differing(alone, together) == []
        found = [markers.load(together.layout.marker("collect", i)) for i in range(number)]
        assert [marker and marker.fence for marker in found] == [1] * number
        assert open_dynamics(together.layout.dynamics)["written"].values.all()
    figure(f"two schedulers at once on one machine, {races} times: every index done once, store equal")


def differing(one: Experiment, other: Experiment) -> list[str]:
    """Name the files of the store that differ, but for those that hold measured seconds and where they were."""
    root, timed = one.layout.dynamics, ("seconds", "provenance")
    names = {path.relative_to(root) for path in root.rglob("*") if path.is_file()}
    names |= {p.relative_to(other.layout.dynamics) for p in other.layout.dynamics.rglob("*") if p.is_file()}
    return sorted(
        str(name)
        for name in names
        if name.parts[0] not in timed and content(root / name) != content(other.layout.dynamics / name)
    )


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
