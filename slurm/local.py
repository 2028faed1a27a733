"""Several worker processes on this machine: start them, pass signals on, wait, and say which of them died."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection, resource_tracker
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Final

from slurm.preemption import EXIT_STOPPED, STOP_SIGNALS, StopFlag
from slurm.task import EXIT_FAILED, Task

_log = logging.getLogger(__name__)

THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
EXIT_INTERRUPTED: Final = 128 + signal.SIGINT


def run_local(
    task: Task,
    indices: Sequence[int],
    workers: int,
    *,
    threads: int = 1,
    on_poll: Callable[[], None] | None = None,
    poll_seconds: float = 0.2,
) -> dict[int, int]:
    """Run a task over indices in several processes and wait for all of them.

    There is no queue: every worker walks over the same indices in the same order, and the task steps aside
    where another worker holds the index. A worker that dies takes nobody with it; the next run finds what it
    left undone. SIGTERM, SIGINT and SIGUSR2 are passed on, and the workers are waited for; a second SIGINT
    kills them.

    Args:
        task: Picklable work on one index, see `slurm.task.Task`.
        indices: The indices, in the order of working.
        workers: Number of processes; no more are started than there are indices.
        threads: Threads of the numerical libraries in each worker.
        on_poll: Called between polls, to show progress.
        poll_seconds: Longest wait between polls.

    Returns:
        Exit code of each worker, numbered from 0. 0: it walked to the end. `EXIT_STOPPED`: it was asked to
        stop. Negative: killed by that signal, see `describe_deaths`. Otherwise the first failure among its
        indices.

    Raises:
        ValueError: `workers` or `threads` below 1.
    """
    if workers < 1 or threads < 1:
        raise ValueError(f"workers = {workers} and threads = {threads}: both have to be at least 1")
    with StopFlag() as flag:
        processes = _start(task, tuple(indices), min(workers, len(indices)), threads)
        try:
            _wait(processes, flag, on_poll, poll_seconds)
        finally:
            # Reached with live workers only by an exception. Killing is safe: all they have done is on disk.
            for process in processes:
                process.kill()
                process.join()
    return {worker: _exit_code(process) for worker, process in enumerate(processes)}


def describe_deaths(exit_codes: dict[int, int]) -> list[str]:
    """Name the workers that were killed.

    Args:
        exit_codes: What `run_local` returned.

    Returns:
        One line for each of them; empty when none was.
    """
    return [_describe(worker, code) for worker, code in sorted(exit_codes.items()) if code < 0]


def _describe(worker: int, code: int) -> str:
    names = {number.value: number.name for number in signal.Signals}  # real-time signals have none
    name = names.get(-code, f"signal {-code}")
    cause = " (out of memory?)" if -code == signal.SIGKILL else ""
    return f"worker {worker} was killed by {name}{cause}; run the same command again for what it left undone"


def _start(task: Task, indices: tuple[int, ...], workers: int, threads: int) -> list[SpawnProcess]:
    # spawn: a forked copy of a process that has used torch's thread pools can hang.
    context = multiprocessing.get_context("spawn")
    resource_tracker.getfd()  # its first start unblocks signals, which must not happen while they are blocked
    processes = []
    with _signals_blocked(), _threads_environment(threads):
        for worker in range(workers):
            process = context.Process(target=_work, args=(task, indices), name=f"worker-{worker}")
            process.start()
            processes.append(process)
    return processes


def _wait(
    processes: list[SpawnProcess], flag: StopFlag, on_poll: Callable[[], None] | None, poll_seconds: float
) -> None:
    running = dict(enumerate(processes))
    told = False
    while running:
        ended = connection.wait([process.sentinel for process in running.values()], timeout=poll_seconds)
        for worker in [worker for worker, process in running.items() if process.sentinel in ended]:
            process = running.pop(worker)
            process.join()
            if _exit_code(process) < 0:
                _log.warning("%s", _describe(worker, _exit_code(process)))
        if flag() and not told:
            told = True
            _pass_on(flag, list(running.values()))
        if on_poll is not None:
            on_poll()


def _pass_on(flag: StopFlag, processes: list[SpawnProcess]) -> None:
    # Ctrl-C at a terminal has reached the workers already, and a second SIGINT would interrupt them.
    number = signal.SIGTERM if flag.signal in (None, signal.SIGINT) else flag.signal
    for process in processes:
        # Not reaped before its join, so the id cannot have passed to another process.
        if process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)


def _exit_code(process: SpawnProcess) -> int:
    return EXIT_FAILED if process.exitcode is None else process.exitcode


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Children inherit the mask and lift it when ready: no signal meets one that is still importing."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _threads_environment(threads: int) -> Iterator[None]:
    """Children inherit the variables; set in a child, they might come after the libraries that read them."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _work(task: Task, indices: tuple[int, ...]) -> None:
    """Body of one worker process; ends it with its exit code."""
    _handle_stops(_late)
    try:
        with StopFlag() as flag:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
            threading.Thread(target=_follow_parent, daemon=True).start()
            code = _walk(task, indices, flag)
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    # An ending interpreter gives its handlers back to the system, and a signal that comes last would kill it.
    _handle_stops(signal.SIG_IGN)
    raise SystemExit(code)


def _handle_stops(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, handler)


def _late(_number: int, _frame: FrameType | None) -> None:
    """For a signal after the walk; SIG_IGN from the start would drop those that wait to be unblocked."""


def _walk(task: Task, indices: tuple[int, ...], flag: StopFlag) -> int:
    failure = 0
    for index in indices:
        if flag():
            return EXIT_STOPPED
        code = _run_one(task, index)
        if code == EXIT_STOPPED:
            return EXIT_STOPPED
        failure = failure or code
    return failure


def _run_one(task: Task, index: int) -> int:
    """One failing index must not keep a worker from the others, as it would not on a cluster."""
    try:
        return task(index)
    except Exception:  # noqa: BLE001 - the boundary of a process: whatever it is, it is shown and counted
        traceback.print_exc()
        return EXIT_FAILED


def _follow_parent() -> None:
    """Stop politely when the parent is gone: nobody is left to pass signals on or to be told the result."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
