from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local_tasks import Claim, Deaf
from slurm.local import THREAD_VARIABLES, describe_deaths, run_local
from slurm.preemption import EXIT_STOPPED

PATIENCE = 300
"""Seconds after which something hangs, also where the machine has much else to do."""
RUN = """
import sys
from pathlib import Path
from local_tasks import Claim, Deaf
from slurm.local import run_local
folder, kind = Path(sys.argv[1]), sys.argv[2]
if __name__ == "__main__":
    task = Claim(folder=folder, seconds=900) if kind == "polite" else Deaf(folder=folder, seconds=900)
    codes = run_local(task, range(8), 2)
    (folder / "codes").write_text(repr(codes))
"""


def names(folder: Path, suffix: str) -> set[int]:
    return {int(path.stem) for path in folder.glob(f"*.{suffix}")}


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """A zombie that nobody has reaped yet counts as dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start `run_local` in a session of its own, so that signals to its group miss the tests."""
    script = tmp_path / "script" / "run.py"
    script.parent.mkdir()
    script.write_text(RUN)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}

    started: list[subprocess.Popen[str]] = []

    def start(kind: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(script), str(tmp_path), kind],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        suffix = "claim" if kind == "polite" else "started"
        wait_for(lambda: bool(names(tmp_path, suffix)) and process.poll() is None)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def test_workers_share_the_indices_and_each_is_done_once(tmp_path: Path) -> None:
    polls: list[int] = []
    codes = run_local(
        Claim(folder=tmp_path, seconds=0.15), range(6), 2, threads=3, on_poll=lambda: polls.append(1)
    )
    assert codes == {0: 0, 1: 0}
    assert names(tmp_path, "done") == set(range(6))
    assert polls
    threads = {path.read_text() for path in tmp_path.glob("*.done")}
    assert threads == {",".join(["3"] * len(THREAD_VARIABLES))}


def test_the_parent_s_environment_and_handlers_come_back(tmp_path: Path) -> None:
    before = dict(os.environ), signal.getsignal(signal.SIGTERM), signal.pthread_sigmask(signal.SIG_BLOCK, [])
    run_local(Claim(folder=tmp_path), [0], 1, threads=7)
    after = dict(os.environ), signal.getsignal(signal.SIGTERM), signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert after == before


def test_no_more_workers_than_indices(tmp_path: Path) -> None:
    assert run_local(Claim(folder=tmp_path), [5], 4) == {0: 0}
    assert run_local(Claim(folder=tmp_path), [], 4) == {}


@pytest.mark.parametrize(("workers", "threads"), [(0, 1), (1, 0)])
def test_senseless_numbers_are_refused(tmp_path: Path, workers: int, threads: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        run_local(Claim(folder=tmp_path), [0], workers, threads=threads)


def test_a_killed_worker_is_named_and_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    codes = run_local(Claim(folder=tmp_path, seconds=0.15, kill_at=1), range(6), 2)
    assert sorted(codes.values()) == [-signal.SIGKILL, 0]
    assert names(tmp_path, "done") == {0, 2, 3, 4, 5}
    [line] = describe_deaths(codes)
    assert "was killed by SIGKILL (out of memory?)" in line
    assert caplog.messages == [line]


def test_a_real_time_signal_has_a_number_for_a_name() -> None:
    assert "worker 4 was killed by signal 40;" in describe_deaths({4: -40, 5: 0, 6: 1})[0]


def test_a_failing_index_does_not_keep_its_worker_from_the_others(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_local(Claim(folder=tmp_path, raise_at=1), range(4), 1) == {0: 1}
    assert names(tmp_path, "done") == {0, 2, 3}
    assert "ZeroDivisionError: a broken index" in capfd.readouterr().err


def test_the_first_failure_is_the_exit_code(tmp_path: Path) -> None:
    assert run_local(Claim(folder=tmp_path, fail_at=0, raise_at=2), range(4), 1) == {0: 3}
    assert names(tmp_path, "done") == {1, 3}


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [(signal.SIGTERM, "SIGTERM"), (signal.SIGUSR2, "SIGUSR2"), (signal.SIGINT, "SIGTERM")],
)
def test_a_signal_to_the_parent_stops_all_workers_at_a_boundary(
    tmp_path: Path,
    parent: Callable[[str], subprocess.Popen[str]],
    sent: signal.Signals,
    arrives: str,
) -> None:
    process = parent("polite")
    process.send_signal(sent)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert (tmp_path / "codes").read_text() == repr({0: EXIT_STOPPED, 1: EXIT_STOPPED})
    assert {path.read_text() for path in tmp_path.glob("*.stopped")} == {arrives}
    assert names(tmp_path, "stopped") == names(tmp_path, "claim")


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_workers_start_is_not_lost(tmp_path: Path, sent: signal.Signals) -> None:
    pending = [sent]

    def send_once() -> None:
        if pending:
            os.kill(os.getpid(), pending.pop())

    codes = run_local(Claim(folder=tmp_path, seconds=900), range(4), 2, on_poll=send_once, poll_seconds=0.001)
    assert codes == {0: EXIT_STOPPED, 1: EXIT_STOPPED}
    assert names(tmp_path, "claim") == set()


def test_control_c_at_a_terminal_reaches_everybody_and_interrupts_nobody(
    tmp_path: Path, parent: Callable[[str], subprocess.Popen[str]]
) -> None:
    process = parent("polite")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert (tmp_path / "codes").read_text() == repr({0: EXIT_STOPPED, 1: EXIT_STOPPED})
    assert "Traceback" not in errors


def test_a_second_control_c_does_not_wait(
    tmp_path: Path, parent: Callable[[str], subprocess.Popen[str]]
) -> None:
    process = parent("deaf")
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGINT
    assert not (tmp_path / "codes").exists()


def test_workers_stop_when_the_parent_is_killed(
    tmp_path: Path, parent: Callable[[str], subprocess.Popen[str]]
) -> None:
    process = parent("polite")
    wait_for(lambda: sum(path.stat().st_size > 0 for path in tmp_path.glob("*.claim")) == 2)
    pids = [int(path.read_text()) for path in tmp_path.glob("*.claim")]
    process.kill()
    process.communicate()
    wait_for(lambda: not any(alive(pid) for pid in pids))
    assert names(tmp_path, "stopped") == {0, 1}
    assert names(tmp_path, "done") == set()


def test_an_error_while_waiting_leaves_no_worker_behind(tmp_path: Path) -> None:
    def fail() -> None:
        if names(tmp_path, "started"):
            raise LookupError("progress bar")

    start = time.monotonic()
    with pytest.raises(LookupError, match="progress bar"):
        run_local(Deaf(folder=tmp_path, seconds=900), range(2), 2, on_poll=fail)
    assert time.monotonic() - start < PATIENCE
