"""Why an index is not done, in one sentence, and what would help: the data's truth first, then the queue's."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.queue_view import Place, QueueView
from pipeline.status import StageStatus, read_failure, stage_status, with_queue
from slurm.controller import MOVED, QueuedTask
from stages.experiment import Experiment
from stages.stage import Stage
from storage_schema import lease

WAITING = {
    "Priority": "other jobs have priority over it; nothing to do but wait",
    "Resources": "the nodes that it may use are busy; fewer resources (--sbatch) would start it sooner",
    "Dependency": "the stage before it is not done yet",
    "DependencyNeverSatisfied": "a task of the stage before it has failed; mend that and give the run command again",
    MOVED: "its index stands for something else since it was submitted; give the run command again",
    "JobArrayTaskLimit": "no more tasks of its array may run at a time (--max-parallel)",
    "BeginTime": "it was requeued and may start in a moment",
    "QOSMaxJobsPerUserLimit": "no more of your jobs may run at a time (QOS)",
    "AssocMaxJobsLimit": "no more of your jobs may run at a time (account)",
    "PartitionTimeLimit": "it asks for more time than its partition allows; lower it: --sbatch time=…",
    "ReqNodeNotAvail": "the nodes that it asks for are down, drained or reserved",
    "PartitionDown": "its partition is down",
    "JobHeldUser": "it is held; release it: scontrol release",
    "JobHeldAdmin": "the administrators hold it",
}
ENDINGS = {
    "OUT_OF_MEMORY": ("out of memory", "ask for more: pipeline retry --sbatch mem=…"),
    "TIMEOUT": ("time", "its work is saved: give the run command again"),
    "DEADLINE": ("time", "its work is saved: give the run command again"),
    "NODE_FAIL": ("node", "its node failed; Slurm starts it again, or give the run command again"),
    "BOOT_FAIL": ("node", "its node did not start; give the run command again, or retry --exclude-nodes"),
    "PREEMPTED": ("preempted", "its work is saved: give the run command again"),
    "CANCELLED": ("cancelled", "give the run command again if it is wanted"),
}
NOT_BEGUN = "not begun"
NO_LOG = "0:53"
"""Exit code of a job whose output file the node could not open."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why an index is where it is.

    Attributes:
        state: As in status; `queued` is the queue's.
        failure: Class of a failure: out of memory, time, node, preempted, cancelled, not begun, folder, bad input,
            defect, or `ended` where nobody says more.
        sentence: Everything in one.
        remedy: What would help; empty when nothing is wrong.
        last_line: Of its log.
    """

    state: str
    failure: str
    sentence: str
    remedy: str
    last_line: str = ""


def explain(experiment: Experiment, stage: Stage, index: int) -> Explanation:
    """Explain one index."""
    return explain_all(experiment, stage, stage_status(experiment, stage), QueueView.of(experiment), [index])[
        index
    ]


def explain_all(
    experiment: Experiment, stage: Stage, status: StageStatus, view: QueueView, indices: list[int]
) -> dict[int, Explanation]:
    """Explain indices of a stage; the queue and accounting are asked once for all."""
    states = {index: state for state, found in status.indices.items() for index in found}
    queued, places = view.queued(stage.name), view.last_places(stage.name)
    found = {}
    for index in indices:
        state, task, place = states[index], queued.get(index), places.get(index)
        if state == "done":
            found[index] = Explanation(state=state, failure="", sentence="it is done", remedy="")
        elif task is not None and task.state != "PENDING":
            found[index] = _running(task)
        elif task is not None:
            found[index] = _pending(
                task, view.log_tail(place)[-1:] if place is not None and task.restarts else []
            )
        elif state == "running":
            owner = lease.held(experiment.layout.lease(stage.name, stage.key(experiment, index)))
            where = f"process {owner.pid} on {owner.host}" if owner else "a process"
            found[index] = Explanation(
                state=state, failure="", sentence=f"{where} is at work on it", remedy=""
            )
        else:
            found[index] = _ended(experiment, stage, index, state, place, view)
    return found


def troubled(status: StageStatus, view: QueueView) -> list[int]:
    """Return the indices that failed, and those that were submitted, are not done and in no queue any more."""
    unfinished = set(status.unfinished)
    lost = set() if view.silent else unfinished & set(view.last_places(status.stage))
    return sorted(lost | set(status.indices["failed"]))


def failed(experiment: Experiment, stage: Stage) -> list[int]:
    """Return the indices whose last run failed, by their own record or by Slurm's; not what was taken back."""
    view = QueueView.of(experiment)
    status = with_queue(stage_status(experiment, stage), view.queued(stage.name))
    reasons = explain_all(experiment, stage, status, view, troubled(status, view))
    return [index for index, why in reasons.items() if why.failure not in ("", "cancelled", NOT_BEGUN)]


def _running(task: QueuedTask) -> Explanation:
    again = f", started again {task.restarts} times" if task.restarts else ""
    sentence = f"it is {task.state.lower()} on {task.node} since {task.started} ({task.elapsed}){again}"
    return Explanation(state="running", failure="", sentence=sentence, remedy="")


def _pending(task: QueuedTask, last: list[str]) -> Explanation:
    why = WAITING.get(task.reason.partition(",")[0], f"Slurm says {task.reason}")
    again = f", started {task.restarts} times before," if task.restarts else ""
    return Explanation(
        state="queued",
        failure="",
        sentence=f"job {task.job}, task {task.task},{again} waits: {why}",
        remedy="",
        last_line="".join(last),
    )


def _ended(
    experiment: Experiment, stage: Stage, index: int, state: str, place: Place | None, view: QueueView
) -> Explanation:
    record = experiment.layout.failure(stage.name, stage.key(experiment, index))
    recorded = read_failure(record)
    last = (view.log_tail(place) or [""])[0] if place is not None else ""
    account = view.account(place) if place is not None else None
    ended = account.state.split()[0] if account is not None else ""
    run = f"pipeline run --stage {stage.name} --array {index}"
    if recorded is not None:
        kind, message = recorded
        what = "bad input" if kind.startswith("input") else "defect"
        remedy = f"mend that, then: {run}" if what == "bad input" else f"report it with: {record}"
        return Explanation(
            state="failed", failure=what, sentence=f"it failed: {message}", remedy=remedy, last_line=last
        )
    if account is not None and account.exit_code == NO_LOG:
        return Explanation(
            state=state,
            failure="folder",
            sentence=f"{account.node} could not open its log: the experiment's folder is not there",
            remedy="move the experiment to a folder that all nodes share; pipeline doctor --on-nodes checks it",
        )
    if place is not None and ended != "COMPLETED" and view.out_of_memory(place):
        ended = "OUT_OF_MEMORY"
    if ended in ENDINGS:
        failure, remedy = ENDINGS[ended]
        where = f" on {account.node}" if account is not None else ""
        sentence = f"its task ended as {ended}{where} after {account.elapsed if account else '?'}"
        return Explanation(state=state, failure=failure, sentence=sentence, remedy=remedy, last_line=last)
    if place is None:
        return Explanation(state=state, failure="", sentence="nobody has run it", remedy=f"run it: {run}")
    if not last and not ended:
        sentence = f"its task {place.target} was taken out of the queue before it began"
        return Explanation(state=state, failure=NOT_BEGUN, sentence=sentence, remedy=f"run it: {run}")
    sentence = f"its task {place.target} is not in the queue any more" + (f" ({ended})" if ended else "")
    return Explanation(
        state=state, failure="ended", sentence=sentence, remedy=f"run it again: {run}", last_line=last
    )
