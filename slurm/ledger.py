"""What was submitted: one small file a submission, written before and after, so that nothing queued is unknown."""

from __future__ import annotations

import fcntl
import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from slurm.errors import SlurmError

_FILE: Final = "submission.json"
MOST_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One job or array.

    Attributes:
        name: Of its folder, and of the job in the queue.
        stage: What the indices are indices of; several in a job that stands between two stages.
        indices: Those of each task, by its number.
        keys: What each of them was when it was submitted; none where that is not known.
        after: Jobs that it waits for.
        resources: Options of sbatch.
        code: Digest of the code.
        submitted: When, seconds since 1970.
        job: Slurm's id; empty while it is being submitted.
    """

    name: str
    stage: str
    indices: list[list[int]]
    after: list[str]
    resources: dict[str, Any]
    code: str
    submitted: float
    job: str = ""
    keys: list[list[str]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read one.

        Raises:
            SlurmError: The file is damaged.
        """
        try:
            if path.stat().st_size > MOST_BYTES:
                raise ValueError("it is too large")
            found = cls(**json.loads(path.read_bytes()))
            found.check(path.parent.name)
            return found
        except (ValueError, TypeError, RecursionError) as error:
            raise SlurmError(f"{path} is damaged ({error}); move its folder away") from error

    def check(self, folder: str) -> None:
        """Check what is read: its name is a folder's that may be removed, jobs are given to Slurm's commands.

        Raises:
            ValueError: It is not what was written.
        """
        texts = (self.name, self.stage, self.code)
        if self.name != folder or not all(isinstance(text, str) and text.isprintable() for text in texts):
            raise ValueError("name, stage or code is not its own")
        if not isinstance(self.after, list) or not all(map(_is_job, self.after)):
            raise ValueError("it waits for what is no job")
        if self.job != "" and not _is_job(self.job):
            raise ValueError("its job is none")
        if not isinstance(self.resources, dict) or not _is_number(self.submitted):
            raise ValueError("resources or time is none")
        if not isinstance(self.indices, list) or not all(isinstance(group, list) for group in self.indices):
            raise ValueError("indices are no lists")
        if not all(type(index) is int and index >= 0 for group in self.indices for index in group):
            raise ValueError("an index is none")
        if not isinstance(self.keys, list) or not all(isinstance(group, list) for group in self.keys):
            raise ValueError("keys are no lists")
        if not all(isinstance(key, str) for group in self.keys for key in group):
            raise ValueError("a key is none")
        if self.keys and list(map(len, self.keys)) != list(map(len, self.indices)):
            raise ValueError("there are not as many keys as indices")


def _is_job(text: Any) -> bool:
    return isinstance(text, str) and re.fullmatch("[0-9]{1,12}", text) is not None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


class Ledger:
    """The submissions of one experiment.

    Args:
        folder: Where their folders are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def submissions(self) -> list[Submission]:
        """Return all, oldest first."""
        found = [Submission.read(path) for path in self.folder.glob(f"*/{_FILE}")]
        return sorted(found, key=lambda each: (each.submitted, each.name))

    def write(self, submission: Submission) -> None:
        """Write one, whole or not at all."""
        path = self.folder / submission.name / _FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.partial")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(asdict(submission), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one command at a time look at the queue and submit."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("a") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            yield
