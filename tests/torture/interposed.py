"""Every file operation that a process makes under one folder: counted, recorded, failed, or the moment of its death.

Python's own functions (`os.*`, `io.open`) are replaced in a process that was forked for one run. So the product has
no hooks, and they cost nothing. That nothing is written past these functions is checked with strace
(test_torture_system_calls).
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GROWING = ("create", "write", "fsync", "mkdir", "rename")
"""Operations that a full disk refuses; removing always works there."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation, as it is recorded.

    Attributes:
        name: create, truncate, write, fsync, mkdir, rename, unlink, rmdir, utime.
        path: Relative to the folder.
        target: New path of a rename.
        offset: Where the bytes of a write go.
    """

    name: str
    path: str
    target: str = ""
    offset: int = 0
    content: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Strike:
    """What happens at the operation of number `at`, counted from 0.

    Attributes:
        kind: `kill` before it, `kill-after`, `fail`, `short` (half of a write is done, then it fails).
        persistent: It fails from then on, each operation that such an error refuses.
    """

    kind: str
    at: int
    error: int = 0
    persistent: bool = False


@dataclass
class Interposer:
    """Takes the place of Python's file operations for the rest of the process.

    Args:
        root: Operations outside of this folder are left alone.
        strike: None: only count and record.
        record: Keep contents too.
    """

    root: str
    strike: Strike | None = None
    record: bool = False
    operations: list[Operation] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.RLock()

    def install(self) -> None:
        """Replace the functions."""
        for name in ("unlink", "remove", "rmdir", "mkdir", "utime"):
            self._wrap_path(name)
        for name in ("replace", "rename"):
            self._wrap_rename(name)
        self._wrap_open()
        self._wrap_fsync()
        self._wrap_descriptor_write()
        io.open = builtins.open = self._opener(io.open)  # type: ignore[assignment]

    def around(self, operation: Operation, work: Callable[[], Any]) -> Any:
        """Do one operation: struck before, while or after, and recorded when it is done."""
        with self._lock:
            number, strike = self.count, self.strike
            self.count += 1
            if strike is not None:
                if strike.kind == "kill" and number == strike.at:
                    os.kill(os.getpid(), signal.SIGKILL)
                if self._fails(strike, number, operation):
                    raise OSError(strike.error, os.strerror(strike.error), operation.path)
            try:
                result = work()
            finally:  # whether it succeeded or not: a folder may be there already
                if strike is not None and strike.kind == "kill-after" and number == strike.at:
                    os.kill(os.getpid(), signal.SIGKILL)
            if self.record:
                self.operations.append(operation)
            return result

    @staticmethod
    def _fails(strike: Strike, number: int, operation: Operation) -> bool:
        if strike.kind not in ("fail", "short"):
            return False
        if number == strike.at:
            return strike.kind == "fail" or operation.name != "write"
        full = strike.error in (errno.ENOSPC, errno.EDQUOT)
        return strike.persistent and number > strike.at and (not full or operation.name in GROWING)

    def halves(self, data: memoryview) -> memoryview:
        """Return what a write struck by `short` gets through: half."""
        strike = self.strike
        short = strike is not None and strike.kind == "short" and self.count == strike.at
        return data[: len(data) // 2] if short else data

    def relative(self, path: Any, dir_fd: int | None = None) -> str | None:
        """Return a path relative to the folder; None outside of it."""
        if isinstance(path, int):
            text = _of_descriptor(path)
        else:
            text = os.fspath(path)
            text = text.decode() if isinstance(text, bytes) else text
            start = Path.cwd() if dir_fd is None else Path(_of_descriptor(dir_fd))
            text = os.path.normpath(start / text)
        if text == self.root:
            return "."
        return text[len(self.root) + 1 :] if text.startswith(self.root + os.sep) else None

    def created(self, path: str, there: bool, open_: Callable[[], Any], truncates: bool) -> Any:
        """Open for writing: a creation where nothing was there, a truncation where it is asked for."""
        if there and not truncates:
            return open_()
        return self.around(Operation(name="truncate" if there else "create", path=path), open_)

    def _wrap_path(self, name: str) -> None:
        original = getattr(os, name)

        def replacement(path: Any, *args: Any, **kwargs: Any) -> Any:
            inside = self.relative(path, kwargs.get("dir_fd"))
            if inside is None:
                return original(path, *args, **kwargs)
            operation = Operation(name="unlink" if name == "remove" else name, path=inside)
            return self.around(operation, lambda: original(path, *args, **kwargs))

        setattr(os, name, replacement)

    def _wrap_rename(self, name: str) -> None:
        original = getattr(os, name)

        def replacement(source: Any, target: Any, **kwargs: Any) -> Any:
            one, two = self.relative(source), self.relative(target)
            if one is None and two is None:
                return original(source, target, **kwargs)
            operation = Operation(name="rename", path=one or "", target=two or "")
            return self.around(operation, lambda: original(source, target, **kwargs))

        setattr(os, name, replacement)

    def _wrap_open(self) -> None:
        original = os.open

        def replacement(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            inside = self.relative(path, dir_fd)

            def open_() -> int:
                return original(path, flags, mode, dir_fd=dir_fd)

            if inside is None or not flags & os.O_CREAT:
                return open_()
            found: int = self.created(inside, os.path.lexists(path), open_, bool(flags & os.O_TRUNC))
            return found

        os.open = replacement

    def _wrap_fsync(self) -> None:
        for name in ("fsync", "fdatasync"):
            original = getattr(os, name)

            def replacement(handle: Any, original: Any = original) -> Any:
                number = handle if isinstance(handle, int) else handle.fileno()
                inside = self.relative(number)
                if inside is None:
                    return original(handle)
                return self.around(Operation(name="fsync", path=inside), lambda: original(handle))

            setattr(os, name, replacement)

    def _wrap_descriptor_write(self) -> None:
        original = os.write

        def replacement(handle: int, data: Any) -> int:
            inside = self.relative(handle) if stat.S_ISREG(os.fstat(handle).st_mode) else None
            if inside is None:
                return original(handle, data)
            return self.write(inside, os.lseek(handle, 0, os.SEEK_CUR), data, lambda d: original(handle, d))

        os.write = replacement

    def write(self, path: str, offset: int, data: Any, work: Callable[[memoryview], int]) -> int:
        """Write some bytes, or half of them."""
        with self._lock:
            part = self.halves(memoryview(data).cast("B"))
            content = bytes(part) if self.record else b""
            operation = Operation(name="write", path=path, offset=offset, content=content)
            done: int = self.around(operation, lambda: work(part))
            return done

    def _opener(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def replacement(
            file: Any,
            mode: str = "r",
            buffering: int = -1,
            encoding: str | None = None,
            errors: str | None = None,
            newline: str | None = None,
            closefd: bool = True,
            opener: Any = None,
        ) -> Any:
            writes = any(letter in mode for letter in "wxa+")
            inside = self.relative(file) if writes and not isinstance(file, int) else None
            if inside is None:
                return original(file, mode, buffering, encoding, errors, newline, closefd, opener)
            letters = mode.replace("b", "").replace("t", "")

            def open_() -> _File:
                return _File(self, inside, os.fspath(file), letters)

            raw = self.created(inside, os.path.lexists(file), open_, "w" in mode)
            if buffering == 0:
                return raw
            buffered = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

        return replacement


class _File(io.FileIO):
    """A file whose writes go through the interposer."""

    def __init__(self, interposer: Interposer, inside: str, path: str, mode: str) -> None:
        super().__init__(path, mode)
        self._interposer, self._inside = interposer, inside

    def write(self, data: Any, /) -> int:
        """Write what may be written."""
        return self._interposer.write(self._inside, self.tell(), data, super().write)


def _of_descriptor(handle: int) -> str:
    return str(Path(f"/proc/self/fd/{handle}").readlink())
