"""What this package runs: the one protocol between those who know the work and those who know the machine."""

from __future__ import annotations

from typing import Final, Protocol

EXIT_FAILED: Final = 1
"""Exit code of work that failed; running it again will not mend it."""


class Task(Protocol):
    """Picklable work on one index.

    An instance holds nothing but what names the work (experiment directory, stage): state is on disk, so the
    same call repeated anywhere goes on where the last one ended.
    """

    def __call__(self, index: int, /) -> int:
        """Do what is missing of one index.

        Args:
            index: Which piece of the work.

        Returns:
            An exit code: 0 for done, also when somebody else has the index and the task stepped aside;
            `slurm.preemption.EXIT_STOPPED` when a signal stopped it and the index has to be run again;
            any other number for a failure that running again will not mend.
        """
        ...
