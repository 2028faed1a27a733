"""Signals that ask for a stop: they set a flag, which the work polls where it can save."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final, Self

EXIT_STOPPED: Final = 75
"""Exit code of work that stopped on request, saved, and has to be run again (EX_TEMPFAIL of sysexits.h)."""

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
"""SIGTERM ends a job, SIGINT is Ctrl-C, SIGUSR2 is the warning that Slurm sends ahead (`--signal=USR2@N`)."""


class StopFlag:
    """Context in which a stop signal sets a flag and interrupts nothing.

    A second SIGINT raises `KeyboardInterrupt`, for whoever does not want to wait. Leaving restores the
    handlers found on entering. A flag entered inside another also sets the outer one, and starts set when the
    outer one is: a signal that comes as an inner piece of work ends is not lost. Only the main thread can
    enter it.
    """

    def __init__(self) -> None:
        self._received: signal.Signals | None = None
        self._interrupts = 0
        self._previous: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        """Whether a stop was asked for; one attribute look-up, cheap enough for every mini-batch."""
        return self._received is not None

    @property
    def signal(self) -> signal.Signals | None:
        """The first signal received.

        Outside the context, `signal.raise_signal` of it hands it on to the handler that was there before.
        """
        return self._received

    @property
    def signal_name(self) -> str | None:
        """Its name, such as `SIGTERM`."""
        return None if self._received is None else self._received.name

    def __enter__(self) -> Self:
        if self._previous:
            raise RuntimeError("this StopFlag is already entered; use a new one")
        previous = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        self._previous = previous
        for number in STOP_SIGNALS:
            signal.signal(number, self._receive)
        # Last: a signal that came before the handlers were ours has reached the outer flag alone.
        outer = _flag_of(previous[signal.SIGTERM])
        if outer is not None and self._received is None:
            self._received = outer._received
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            # None: a handler that C code installed, which Python cannot put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous = {}  # not before: until then a signal still has to reach the outer flag

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = self._received or signal.Signals(number)
        outer = _flag_of(self._previous.get(signal.Signals(number)))
        if outer is not None:
            outer._receive(number, frame)
        if number == signal.SIGINT:
            self._interrupts += 1
            if self._interrupts > 1:
                raise KeyboardInterrupt


def _flag_of(handler: Callable[..., Any] | int | None) -> StopFlag | None:
    owner = getattr(handler, "__self__", None)
    return owner if isinstance(owner, StopFlag) else None
