"""What stands between two stages on a cluster: gather the one that ended, create what the next one's indices share."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from pipeline import gather
from pipeline.execute import EXIT_DONE
from pipeline.experiment import load
from pipeline.registry import STAGES
from slurm.task import EXIT_FAILED
from storage_schema.errors import UserError


@dataclass(frozen=True)
class LinkTask:
    """The picklable step after one stage and before another; its only index is 0."""

    root: str
    done: str
    following: str | None

    def __call__(self, index: int) -> int:  # noqa: ARG002
        """Gather and create; see `slurm.task.Task`."""
        experiment = load(Path(self.root))
        try:
            gather.finalise(experiment, STAGES[self.done])
            if self.following is not None:
                gather.prepare(experiment, STAGES[self.following])
        except UserError as error:
            print(f"after {self.done}: {error}", file=sys.stderr, flush=True)
            return EXIT_FAILED
        return EXIT_DONE


def link_name(done: str, following: str | None) -> str:
    """Return the name, in the ledger and the queue, of the step between two stages."""
    return f"{done}-then-{following or 'end'}"


def stage_of(name: str) -> str:
    """Return the stage that a name in the ledger belongs to: its own, or the one that its step comes after."""
    return name.partition("-then-")[0]
