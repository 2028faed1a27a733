"""How far the stages of an experiment are, from the data and the queue together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from pipeline.array_spec import format_array
from pipeline.explain import explain_all, troubled
from pipeline.queue_view import QueueView
from pipeline.run import summary
from pipeline.status import StageStatus, stage_status, with_queue
from stages.experiment import Experiment
from stages.stage import Stage

SHOWN: Final = 10
"""Indices that are explained, of each stage."""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The state of some stages.

    Attributes:
        statuses: One for each stage.
        view: The queue, as far as it answers.
    """

    experiment: Experiment
    stages: Sequence[Stage]
    statuses: Sequence[StageStatus]
    view: QueueView

    @classmethod
    def of(cls, experiment: Experiment, stages: Sequence[Stage]) -> Self:
        """Look at the data, and ask the queue."""
        view = QueueView.of(experiment)
        found = [with_queue(stage_status(experiment, each), view.queued(each.name)) for each in stages]
        return cls(experiment=experiment, stages=stages, statuses=found, view=view)

    @property
    def done(self) -> bool:
        """Whether nothing is left."""
        return all(len(status.indices["done"]) == status.total for status in self.statuses)

    def lines(self, where: str) -> Iterator[str]:
        """Yield what a person wants to see, and the next command.

        Args:
            where: Option that names the experiment in commands.
        """
        for stage, status in zip(self.stages, self.statuses, strict=True):
            yield from self._of_stage(stage, status, where)
        if self.view.silent:
            yield f"the queue is not known: {self.view.silent}"
        todo = [status.stage for status in self.statuses if status.unfinished]
        nothing = "all done" if self.done else "in work"
        yield f"next: pipeline run --stage {todo[0]}{where}" if todo else nothing

    def _of_stage(self, stage: Stage, status: StageStatus, where: str) -> Iterator[str]:
        yield summary(status)
        lost = troubled(status, self.view)
        reasons = explain_all(self.experiment, stage, status, self.view, lost[:SHOWN])
        for index, why in reasons.items():
            kind = f"{why.failure}: " if why.failure else ""
            yield f"  {index}: {kind}{why.sentence}" + (f" | {why.last_line}" if why.last_line else "")
        queued = sorted(self.view.queued(stage.name).items())
        shown = [each for each in queued if each[1].state != "PENDING" or each[1].hopeless]
        for index, task in shown[:SHOWN]:
            again = f", restarts {task.restarts}" if task.restarts else ""
            at_work = f"{task.state.lower()} on {task.node} for {task.elapsed}{again}"
            yield f"  {index}: " + (f"waits in vain ({task.reason})" if task.hopeless else at_work)
        if lost:
            yield f"  again: pipeline retry --stage {stage.name} --array {format_array(lost)}{where}"

    def record(self) -> dict[str, Any]:
        """Return everything, for scripts."""
        reasons = {
            each.name: explain_all(self.experiment, each, status, self.view, troubled(status, self.view))
            for each, status in zip(self.stages, self.statuses, strict=True)
        }
        return {
            "identity": self.experiment.identity,
            "stages": {
                s.stage: {state: format_array(i) if i else "" for state, i in s.indices.items()}
                for s in self.statuses
            },
            "failures": {s.stage: s.failures for s in self.statuses},
            "queue": {
                s.stage: {i: asdict(task) for i, task in self.view.queued(s.stage).items()}
                for s in self.statuses
            },
            "reasons": {name: {i: asdict(why) for i, why in each.items()} for name, each in reasons.items()},
            "queue_unknown": self.view.silent,
        }
