"""Killed anywhere, run again: the same bytes. And the proof that this test would notice if they were not (R4, R10)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.execute import EXIT_DONE, EXIT_FAILED, EXIT_STOPPED, execute
from pipeline.experiment import initialize
from pipeline.registry import STAGES
from pipeline.status import stage_status
from stages.architectures.genotype import Genotype
from stages.architectures.network import build_network
from stages.collect import collect
from stages.collect.recorder import Recorder
from stages.stage import Execution, Experiment
from stages.training import checkpoint, loop
from stages.training.data import device_data
from storage_schema import durable, markers
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


@pytest.mark.parametrize("instant", ["before", "written", "renamed"])
def test_killed_at_every_durable_write_gives_the_same_bytes(
    instant: str, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    experiment = make(tmp_path)
    for nth in range(1, 60):

        def work(nth: int = nth) -> int:
            kill_at_write(nth, instant)
            return execute(experiment, COLLECT, 0)

        if in_child(work) == EXIT_DONE:
            break
    else:
        pytest.fail("it never came to the end")
    assert nth > 1
    assert execute(experiment, COLLECT, 0) == EXIT_DONE
    assert digests(experiment) == undisturbed
    assert stage_status(experiment, COLLECT).indices["done"] == [0]


def kill_at_write(nth: int, instant: str) -> None:
    """Make this process kill itself around its n-th durable write."""
    count, replace, sync = 0, Path.replace, durable.sync_folder

    def die() -> None:
        nonlocal count
        count += 1
        if count == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    def replacing(self: Path, target: Path) -> Path:
        if instant == "written":
            die()
        return replace(self, target)

    def syncing(folder: Path) -> None:
        if instant == "renamed":
            die()
        sync(folder)

    opened = Path.open

    def opening(self: Path, *args: Any, **kwargs: Any) -> Any:
        if instant == "before" and args == ("xb",):
            die()
        return opened(self, *args, **kwargs)

    Path.replace, Path.open, durable.sync_folder = replacing, opening, syncing  # type: ignore[method-assign]


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

        def changed(*args: Any) -> Any:
            kept = original(*args)
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


def test_a_damaged_checkpoint_starts_afresh(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    experiment = interrupted(tmp_path)
    path = experiment.layout.checkpoint("collect", 0)
    path.write_bytes(path.read_bytes()[:1000])
    assert execute(experiment, COLLECT, 0) == EXIT_DONE
    assert digests(experiment) == undisturbed


def test_resuming_with_other_versions_is_refused_unless_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = interrupted(tmp_path)
    other = dict(collect.fingerprint(torch.device("cpu")), torch="0.0.1")
    monkeypatch.setattr(collect, "fingerprint", lambda device: other)
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
    config = experiment.config
    execution = Execution(should_stop=lambda: False, guard=nullcontext, progress=lambda _: None)
    collection = collect.Collection(experiment, 0, execution)
    collection.work()
    recorded = collection._trainer.network.state_dict()
    data = device_data(config.data, torch.device("cpu"), experiment.data_digest)
    genotype = Genotype.parse(experiment.architectures[0])
    trainer = loop.Trainer(build_network(genotype, config.network_shape, 4), data, config.training)
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
