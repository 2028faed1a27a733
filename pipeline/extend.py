"""Adding architectures to an experiment: its plan becomes longer, and what is collected stays what it is.

The steps are in such an order that the experiment opens after each of them, as it was before: the plan gets further
rows, the store room for them, `identity.json` says that there may be so many, and at last `experiment.toml` that there
are. Killed anywhere, the same command does again what is not done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from pipeline import config, gather
from pipeline.experiment import drawn_plan, load, with_plan
from pipeline.queue_view import QueueView
from pipeline.record import ExperimentError, plan_digest, read_identity, with_number, written
from pipeline.registry import STAGES
from pipeline.sections import SLURM
from slurm.ledger import Ledger
from stages.collect.stage import CollectStage
from stages.experiment import Experiment
from stages.labels.config import LabelsConfig
from stages.search_spaces.chosen import check_space
from stages.search_spaces.config import ArchitecturesConfig
from storage_schema import durable, lease
from storage_schema.layout import Layout

COLLECT = CollectStage()


def extend(root: Path, number: int, *, dry_run: bool = False) -> dict[str, Any]:
    """Let an experiment have more architectures; returns what to tell of it.

    Args:
        root: The experiment.
        number: Architectures in all.
        dry_run: Write nothing.

    Raises:
        ExperimentError: It has so many already, is being worked on, or its plan would not begin as it does.
        ConfigError: There are not so many architectures, or this code would train them otherwise.
    """
    layout = load(root).layout
    with nullcontext() if dry_run else _alone(layout):
        before = load(root)
        _check_idle(before)
        after, plan = _longer(before, number)
        if not dry_run:
            _write(before, after, plan)
    facts = {
        "experiment": str(root),
        "identity": before.identity,
        "architectures": number,
        "added": number - len(before.architectures),
    }
    remedy = (
        "pipeline extend, without --dry-run" if dry_run else f"pipeline run --experiment {root} --stage all"
    )
    return facts | {"next": remedy}


@contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    """Let nobody submit anything, take an index or write meanwhile."""
    with ExitStack() as held:
        if layout.submissions.is_dir():
            held.enter_context(Ledger(layout.submissions).locked())
        for stage in STAGES:
            held.enter_context(lease.alone(layout.lease_lock(stage)))
        yield


def _check_idle(experiment: Experiment) -> None:
    layout = experiment.layout
    for stage in STAGES:
        for path in sorted(layout.lease(stage, 0).parent.glob("*.json")):
            owner = lease.held(path)
            if owner is not None:
                raise ExperimentError(
                    f"{stage} {path.stem} is being computed by process {owner.pid} on {owner.host}; "
                    "wait for it, or stop it, then extend"
                )
    queued = [task for task in QueueView.of(experiment).tasks.values() if not task.hopeless]
    if queued:
        raise ExperimentError(
            f"{len(queued)} tasks of {layout.root} are in the queue; wait for them, or take them back: pipeline cancel"
        )


def _longer(before: Experiment, number: int) -> tuple[Experiment, bytes]:
    """Return the experiment with more architectures, and its plan."""
    layout, there = before.layout, len(before.architectures)
    if number <= there:
        raise ExperimentError(
            f"--number {number}: {layout.root} has {there} architectures; name a larger number"
        )
    check_space(before)
    COLLECT.admit(before)
    settings = with_number(before.settings, number)
    plan = drawn_plan(settings)
    rows = zip(
        layout.plan.read_text("utf-8").splitlines()[: there + 1], plan.decode().splitlines(), strict=False
    )
    for old, new in rows:
        if old != new:
            raise ExperimentError(
                f"{layout.root} cannot be extended: the plan of {number} architectures would have {new!r} where its "
                f"own has {old!r}; {_why(before)}"
            )
    return with_plan(before, settings, plan), plan


def _why(experiment: Experiment) -> str:
    if experiment.settings(ArchitecturesConfig).sample == "paper":
        return 'architectures.sample = "paper" spreads each number in its own way; make another experiment'
    if experiment.settings(LabelsConfig).source != "training":
        return "labels.table is not the table that it was made with; name that one"
    return "its search space now draws others; use the version that it was made with"


def _write(before: Experiment, after: Experiment, plan: bytes) -> None:
    layout, there = before.layout, len(before.architectures)
    durable.write(layout.plan, plan)
    with gather.rewriting(after, COLLECT):
        COLLECT.grow(after)
    record = read_identity(layout.identity)
    known = [each for each in record.get("extended", []) if each["number"] <= there]
    record["extended"] = [*known, {"number": len(after.architectures), "plan": plan_digest(plan)}]
    durable.write(layout.identity, written(record))
    slurm = config.read_tree(layout.config).get(SLURM, {})
    heading = layout.config.read_text("utf-8").partition("\n")[0]
    durable.write(layout.config, config.to_toml(after.settings, heading, slurm).encode())
