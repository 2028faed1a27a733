from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import timeit

import pytest

from slurm.preemption import EXIT_STOPPED, STOP_SIGNALS, StopFlag


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_stop_signal_sets_the_flag_and_interrupts_nothing(number: signal.Signals) -> None:
    with StopFlag() as flag:
        assert not flag()
        assert flag.signal_name is None
        os.kill(os.getpid(), number)
        assert flag()
    assert flag.signal is number
    assert flag.signal_name == number.name


def test_the_first_signal_is_the_one_reported() -> None:
    with StopFlag() as flag:
        signal.raise_signal(signal.SIGUSR2)
        signal.raise_signal(signal.SIGTERM)
    assert flag.signal_name == "SIGUSR2"


def test_a_second_interrupt_does_not_wait() -> None:
    with StopFlag() as flag:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert flag()


def test_handlers_are_restored_also_after_an_error() -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    flag = StopFlag()
    with pytest.raises(ZeroDivisionError), flag:
        _ = 1 / len([number for number in STOP_SIGNALS if signal.getsignal(number) in before])
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_the_signal_can_be_handed_on_to_the_handler_that_was_there() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, _: seen.append(number))
    try:
        with StopFlag() as flag:
            signal.raise_signal(signal.SIGUSR2)
            assert seen == []
        assert flag.signal is not None
        signal.raise_signal(flag.signal)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert seen == [signal.SIGUSR2]


def test_an_inner_flag_also_sets_the_outer_one() -> None:
    with StopFlag() as outer:
        with StopFlag() as inner:
            signal.raise_signal(signal.SIGTERM)
            assert inner()
        assert outer.signal_name == "SIGTERM"


def test_an_inner_flag_starts_set_when_the_outer_one_is() -> None:
    with StopFlag() as outer:
        signal.raise_signal(signal.SIGTERM)
        with StopFlag() as inner:
            assert inner.signal_name == outer.signal_name == "SIGTERM"


def test_two_interrupts_count_across_nested_flags() -> None:
    with StopFlag():
        signal.raise_signal(signal.SIGINT)
        with StopFlag(), pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_an_entered_flag_cannot_be_entered_again() -> None:
    with StopFlag() as flag, pytest.raises(RuntimeError, match="use a new one"):
        flag.__enter__()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_another_thread_is_refused_and_leaves_no_trace() -> None:
    raised: list[BaseException] = []

    def enter() -> None:
        try:
            with StopFlag():
                pass
        except ValueError as error:
            raised.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert "main thread" in str(raised[0])


def test_polling_is_cheap() -> None:
    with StopFlag() as flag:
        seconds = min(timeit.repeat(flag, number=10_000, repeat=5)) / 10_000
    assert seconds < 5e-6


def test_work_in_another_process_saves_and_exits_with_75() -> None:
    code = (
        "import sys, time\n"
        "from slurm.preemption import EXIT_STOPPED, StopFlag\n"
        "with StopFlag() as flag:\n"
        "    print('ready', flush=True)\n"
        "    while not flag(): time.sleep(0.01)\n"
        "print('saved after', flag.signal_name)\n"
        "sys.exit(EXIT_STOPPED)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGUSR2)
    rest, _ = process.communicate(timeout=300)
    assert rest == "saved after SIGUSR2\n"
    assert process.returncode == EXIT_STOPPED == os.EX_TEMPFAIL


def test_constants_are_plain() -> None:
    assert pickle.loads(pickle.dumps(EXIT_STOPPED)) == 75
