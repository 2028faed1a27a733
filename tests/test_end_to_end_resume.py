"""Killed anywhere, run again: the same bytes. And the proof that this test would notice if they were not (R4, R10)."""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline import gather
from pipeline.execute import EXIT_DONE, EXIT_STOPPED, execute
from pipeline.experiment import initialize
from pipeline.registry import STAGES
from pipeline.status import stage_status
from pipeline.verify import verify_digests
from slurm.task import EXIT_FAILED
from stages.collect import collect
from stages.datasets.config import DataConfig
from stages.experiment import Experiment
from stages.recording.recorder import Recorder
from stages.search_spaces.build import build
from stages.search_spaces.chosen import space_of, task_of
from stages.stage import Execution, Stopped
from stages.training import checkpoint, loop, resumable
from stages.training.config import TrainingConfig
from stages.training.data import device_data
from storage_schema import durable, lease, markers
from storage_schema.lease import Lease
from storage_schema.read import open_dynamics
from storage_schema.write import file_digests

SETTINGS = (
    "architectures.number=3",
    "architectures.channels=2",
    "recording.interval=3",
    "recording.snapshots=3",
    "training.batch_size=32",
)
COLLECT = STAGES["collect"]
KILLS = 25


def make(folder: Path, *more: str) -> Experiment:
    experiment = initialize(folder / "experiment", "demo", (*SETTINGS, *more))
    COLLECT.prepare(experiment)
    return experiment


def digests(experiment: Experiment, index: int = 0) -> dict[str, str]:
    found = file_digests(experiment.layout.dynamics, index)
    assert set(found) == {"weights", "gradients", "curves"}
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    experiment = make(tmp_path_factory.mktemp("undisturbed"))
    assert execute(experiment, COLLECT, 0) == EXIT_DONE
    return digests(experiment)


def in_child(work: Callable[[], Any], kill_after: float | None = None) -> int:
    """Run in a forked process, killed after so many seconds; returns its exit status (negative: signal)."""
    pid = os.fork()
    if pid == 0:
        try:
            code = work()
        except BaseException:  # noqa: BLE001  a forked child must not go on into pytest
            code = 99
        os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_killed_at_random_moments_gives_the_same_bytes(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    experiment = make(tmp_path)
    start = time.perf_counter()
    assert in_child(lambda: execute(experiment, COLLECT, 1)) == EXIT_DONE
    whole = time.perf_counter() - start
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    draw, killed = random.Random(seed), 0
    for _ in range(KILLS):
        code = in_child(lambda: execute(experiment, COLLECT, 0), draw.uniform(0.0, whole * 0.7))
        killed += code == -signal.SIGKILL
        if code == EXIT_DONE:  # it came to the end: begin again, to be killed again
            experiment.layout.marker("collect", 0).unlink()
    assert killed > KILLS // 2
    assert execute(experiment, COLLECT, 0) == EXIT_DONE
    assert digests(experiment) == undisturbed


@pytest.mark.parametrize("instant", ["before", "empty", "torn", "written", "renamed", "after"])
def test_killed_around_every_kind_of_write_gives_the_same_bytes(
    instant: str, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    experiment = make(tmp_path)
    for kind, nth in WRITES.items():

        def work(kind: str = kind, nth: int = nth) -> int:
            kill_at_write(kind, nth, instant)
            return execute(experiment, COLLECT, 0)

        assert in_child(work) == -signal.SIGKILL, kind
    left = gather.left(experiment.layout.root)
    # What is left beside the architecture's own files is cleared away by the next execution, the rest by the next run.
    assert {path.parts[-2] for path in left if path.parts[-3] != "c"} <= {"collect"}
    assert len(left) == (3 if instant in ("empty", "torn", "written") else 0)
    done = [0] if instant in ("renamed", "after") else []
    assert stage_status(experiment, COLLECT).indices["done"] == done
    assert execute(experiment, COLLECT, 0) == EXIT_DONE
    assert digests(experiment) == undisturbed
    assert verify_digests(experiment, COLLECT, [0]) == []
    gather.prepare(experiment, COLLECT)
    assert gather.left(experiment.layout.root) == []
    gather.finalise(experiment, COLLECT)
    written = open_dynamics(experiment.layout.dynamics)["written"].values
    assert written.tolist() == [[True] * 4, [False] * 4, [False] * 4]


WRITES = {"leases": 1, "checkpoints": 1, "weights": 2, "gradients": 2, "curves": 2, "markers": 1}
"""Folder of each kind of file, and which of its writes in one execution is cut."""


def kill_at_write(kind: str, nth: int, instant: str) -> None:
    """Make this process kill itself around the n-th durable write of a kind."""
    count, armed, renamed = 0, False, False
    write, opened, fsync, replace, sync = (
        durable.write,
        Path.open,
        os.fsync,
        Path.replace,
        durable.sync_folder,
    )

    def die_at(now: str) -> None:
        if armed and now == instant:
            os.kill(os.getpid(), signal.SIGKILL)

    def writing(path: Path, content: Any) -> None:
        nonlocal count, armed
        count += kind in path.parts
        armed = kind in path.parts and count == nth
        die_at("before")
        write(path, content)
        die_at("after")

    def opening(self: Path, *args: Any, **kwargs: Any) -> Any:
        file = opened(self, *args, **kwargs)
        if args == ("xb",):
            die_at("empty")
        return file

    def syncing(handle: int) -> None:
        if armed and instant == "torn" and stat.S_ISREG(os.fstat(handle).st_mode):
            os.ftruncate(handle, os.fstat(handle).st_size // 2)
            die_at("torn")
        fsync(handle)

    def replacing(self: Path, target: Path) -> Path:
        nonlocal renamed
        die_at("written")
        renamed = armed
        return replace(self, target)

    def syncing_folder(folder: Path) -> None:
        if renamed:
            die_at("renamed")
        sync(folder)

    durable.write, durable.sync_folder, os.fsync = writing, syncing_folder, syncing  # type: ignore[assignment]
    Path.open, Path.replace = opening, replacing  # type: ignore[method-assign,assignment]


def test_killed_in_every_mini_batch_gives_the_same_bytes(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    experiment = make(tmp_path)
    update = loop.Trainer.update
    for step in range(1, 10):

        def dying(self: loop.Trainer, at: int, step: int = step) -> None:
            update(self, at)
            if at == step:
                os.kill(os.getpid(), signal.SIGKILL)

        def work(dying: Any = dying) -> int:
            loop.Trainer.update = dying  # type: ignore[method-assign]
            return execute(experiment, COLLECT, 0)

        assert in_child(work) == -signal.SIGKILL
    assert execute(experiment, COLLECT, 0) == EXIT_DONE
    assert digests(experiment) == undisturbed


@pytest.mark.parametrize("folder", ["checkpoints", "leases"])
def test_killed_while_tidying_up_it_is_done(folder: str, tmp_path: Path, undisturbed: dict[str, str]) -> None:
    experiment = make(tmp_path)
    unlink = Path.unlink

    def dying(self: Path, missing_ok: bool = False) -> None:
        if folder in self.parts and self.suffix != durable.PARTIAL:
            os.kill(os.getpid(), signal.SIGKILL)
        unlink(self, missing_ok=missing_ok)

    def work() -> int:
        Path.unlink = dying  # type: ignore[method-assign]
        return execute(experiment, COLLECT, 0)

    assert in_child(work) == -signal.SIGKILL
    assert stage_status(experiment, COLLECT).indices["done"] == [0]
    assert execute(experiment, COLLECT, 0) == EXIT_DONE
    assert digests(experiment) == undisturbed


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Send this process SIGTERM during a mini-batch."""
    backward = loop.Trainer.backward

    def signalling(self: loop.Trainer, at: int) -> torch.Tensor:
        if at == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return backward(self, at)

    monkeypatch.setattr(loop.Trainer, "backward", signalling)


def interrupted(tmp_path: Path, step: int = 5) -> Experiment:
    experiment = make(tmp_path)
    with pytest.MonkeyPatch.context() as monkeypatch:
        stop_at(monkeypatch, step)
        assert execute(experiment, COLLECT, 0) == EXIT_STOPPED
    return experiment


def test_sigterm_saves_at_the_next_mini_batch_and_resumes_exactly(
    tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    experiment = interrupted(tmp_path)
    path = experiment.layout.checkpoint("collect", 0)
    kept = checkpoint.load(path, torch.device("cpu"), experiment.identity)
    assert kept is not None
    assert kept["step"] == 5
    assert stage_status(experiment, COLLECT).indices["partial"] == [0]
    assert execute(experiment, COLLECT, 0) == EXIT_DONE
    assert digests(experiment) == undisturbed
    assert not path.exists()


def forget_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        loop, "restore", lambda trainer, kept: trainer.network.load_state_dict(kept["network"])
    )


def forget_batch_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    restore = loop.restore

    def without_buffers(trainer: loop.Trainer, kept: dict[str, Any]) -> None:
        fresh = {name: buffer.clone() for name, buffer in trainer.network.named_buffers()}
        restore(trainer, {**kept, "network": kept["network"] | fresh})

    monkeypatch.setattr(loop, "restore", without_buffers)


def forget_in_checkpoint(key: str, change: Callable[[Any], Any]) -> Callable[[pytest.MonkeyPatch], None]:
    def forget(monkeypatch: pytest.MonkeyPatch) -> None:
        original = checkpoint.load

        def changed(*args: Any, **options: Any) -> Any:
            kept = original(*args, **options)
            return None if kept is None else {**kept, key: change(kept[key])}

        monkeypatch.setattr(checkpoint, "load", changed)

    return forget


def forget_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder, "restore", lambda self, state: None)


@pytest.mark.parametrize(
    "forget",
    [
        forget_optimizer,
        forget_batch_norm,
        forget_in_checkpoint("step", lambda step: step - 1),
        forget_in_checkpoint("losses", lambda losses: torch.full_like(losses, torch.nan)),
        forget_rows,
    ],
    ids=["optimizer", "batch_norm", "step", "losses", "rows"],
)
def test_negative_control_a_resume_that_forgets_something_is_noticed(
    forget: Callable[[pytest.MonkeyPatch], None],
    tmp_path: Path,
    undisturbed: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    experiment = interrupted(tmp_path)
    forget(monkeypatch)
    assert execute(experiment, COLLECT, 0) == EXIT_DONE
    assert digests(experiment) != undisturbed


def flipped(raw: bytes) -> bytes:
    """One bit of a value changed, far from the file's own headers."""
    middle = len(raw) // 2
    return raw[:middle] + bytes([raw[middle] ^ 0x40]) + raw[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        flipped,
        lambda raw: raw[:1000],
        lambda raw: raw[:-1],
        lambda raw: b"",
        lambda raw: bytes(len(raw)),
    ],
    ids=["flipped", "torn", "short", "empty", "zeros"],
)
def test_a_damaged_checkpoint_starts_afresh(
    damage: Callable[[bytes], bytes], tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    experiment = interrupted(tmp_path)
    path = experiment.layout.checkpoint("collect", 0)
    path.write_bytes(damage(path.read_bytes()))
    assert checkpoint.load(path, torch.device("cpu"), experiment.identity) is None
    assert execute(experiment, COLLECT, 0) == EXIT_DONE
    assert digests(experiment) == undisturbed


def test_the_checkpoint_of_another_experiment_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = interrupted(tmp_path)
    path = experiment.layout.checkpoint("collect", 0)
    kept = checkpoint.load(path, torch.device("cpu"), experiment.identity)
    assert kept is not None
    checkpoint.save(path, {**kept, "identity": "another"})
    capsys.readouterr()
    assert execute(experiment, COLLECT, 0) == EXIT_FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert "experiment another" in line
    assert "delete it" in line


def test_resuming_with_other_versions_is_refused_unless_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = interrupted(tmp_path)
    other = dict(resumable.fingerprint(torch.device("cpu")), torch="0.0.1")
    monkeypatch.setattr(resumable, "fingerprint", lambda device: other)
    assert execute(experiment, COLLECT, 0) == EXIT_FAILED
    assert "--allow-device-change" in capsys.readouterr().err
    assert stage_status(experiment, COLLECT).indices["failed"] == [0]
    assert execute(experiment, COLLECT, 0, allow_device_change=True) == EXIT_DONE
    marker = markers.load(experiment.layout.marker("collect", 0))
    assert marker is not None
    assert [each["torch"] for each in marker.provenance["resumed_on"]] == [torch.__version__]


def test_alone_and_beside_another_process_the_bytes_are_equal(
    tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    experiment = make(tmp_path)
    root = str(experiment.layout.root)
    command = [
        sys.executable,
        "-m",
        "pipeline",
        "run",
        "-e",
        root,
        "--stage",
        "collect",
        "--cluster",
        "inline",
    ]
    processes = [subprocess.Popen([*command, "--array", array]) for array in ("0", "1-2")]
    assert [process.wait() for process in processes] == [0, 0]
    assert digests(experiment) == undisturbed
    assert stage_status(experiment, COLLECT).indices["done"] == [0, 1, 2]


def test_recording_and_validation_leave_training_as_it_is(tmp_path: Path) -> None:
    experiment = make(tmp_path, "recording.snapshots=10")
    settings = experiment.settings
    execution = Execution(
        identity=experiment.identity,
        should_stop=lambda: False,
        guard=nullcontext,
        progress=lambda share, note="": None,
    )
    collection = collect.Collection(experiment, 0, execution)
    collection.work()
    recorded = collection._trainer.network.state_dict()
    data = device_data(settings(DataConfig), torch.device("cpu"), experiment.data_digest)
    trainer = loop.Trainer(
        build(space_of(experiment), experiment.architectures[0], task_of(settings), 4),
        data,
        settings(TrainingConfig),
    )
    for step in range(1, 31):
        trainer.backward(step)
        trainer.update(step)
    plain = trainer.network.state_dict()
    assert plain.keys() == recorded.keys()
    assert all(torch.equal(plain[name], recorded[name]) for name in plain)


def test_an_unreadable_marker_fails_its_index_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = make(tmp_path)
    durable.write(experiment.layout.marker("collect", 0), b"{")
    assert execute(experiment, COLLECT, 0) == EXIT_FAILED
    assert "delete it" in capsys.readouterr().err


def test_the_second_of_two_executions_steps_aside_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = make(tmp_path)
    layout = experiment.layout
    Lease.acquire(layout.lease("collect", 0), layout.lease_lock("collect"), 0)
    assert execute(experiment, COLLECT, 0) == EXIT_DONE
    (line,) = capsys.readouterr().err.splitlines()
    assert f"process {os.getpid()}" in line
    assert "stepping aside" in line
    assert file_digests(layout.dynamics, 0) == {}


def take_away(experiment: Experiment) -> None:
    path = experiment.layout.lease("collect", 0)
    durable.write_json(path, json.loads(path.read_bytes()) | {"token": "taker", "fence": 2})


def test_the_overtaken_writes_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = make(tmp_path)
    layout, backward, found = experiment.layout, loop.Trainer.backward, []

    def losing(self: loop.Trainer, at: int) -> torch.Tensor:
        if at == 5:
            take_away(experiment)
            found.append(digests(experiment))
        return backward(self, at)

    monkeypatch.setattr(loop.Trainer, "backward", losing)
    assert execute(experiment, COLLECT, 0) == EXIT_FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert "taken over" in line
    assert [digests(experiment)] == found
    assert not layout.marker("collect", 0).exists()
    assert not layout.failure("collect", 0).exists()
    taker = lease.read(layout.lease("collect", 0))
    assert taker is not None
    assert taker.token == "taker"


@pytest.mark.parametrize(
    ("ending", "code"), [(Stopped("saved"), EXIT_STOPPED), (RuntimeError("broken"), EXIT_FAILED)]
)
def test_losing_the_lease_at_the_end_changes_no_outcome_and_leaves_the_taker_alone(
    ending: Exception, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = make(tmp_path)

    def run(*_: Any) -> Any:
        take_away(experiment)
        raise ending

    monkeypatch.setattr(collect, "run", run)
    assert execute(experiment, COLLECT, 0) == code
    taker = lease.read(experiment.layout.lease("collect", 0))
    assert taker is not None
    assert taker.token == "taker"
    assert not experiment.layout.failure("collect", 0).exists()


def test_the_number_goes_on_from_a_marker_that_proves_nothing(
    tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    experiment = make(tmp_path)
    path = experiment.layout.marker("collect", 0)
    markers.Marker(stage="collect", index=0, identity="another", fence=7, digests={}).save(path)
    assert execute(experiment, COLLECT, 0) == EXIT_DONE
    marker = markers.load(path)
    assert marker is not None
    assert (marker.identity, marker.fence) == (experiment.identity, 8)
    assert digests(experiment) == undisturbed
