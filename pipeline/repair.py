"""Moving aside what is damaged, and computing just that again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from pipeline.array_spec import format_array
from pipeline.entries import place
from pipeline.experiment import damaged_files
from pipeline.registry import STAGES
from pipeline.run import RunOptions, run_stage
from pipeline.verify import Finding, find, find_shared, on_disk
from stages.experiment import Experiment
from stages.stage import Stage
from storage_schema import durable, lease


@dataclass(frozen=True, kw_only=True)
class Repair:
    """What was found, and what was done.

    Attributes:
        findings: A line each.
        moved: New paths of what was moved aside.
        arrays: By stage, the damaged indices as a value of `--array`; empty for what they share.
        told: What was done, or would be, in a line or none.
        code: Exit code of what was computed again.
    """

    findings: list[str]
    moved: list[str]
    arrays: dict[str, str]
    told: tuple[str, ...]
    code: int


def repair(
    experiment: Experiment,
    stages: Sequence[Stage],
    wanted: Sequence[int] | None,
    *,
    dry_run: bool,
    rerun: bool,
    workers: int,
) -> Repair:
    """Move aside what is damaged of some stages, and compute just that again.

    Args:
        experiment: The experiment.
        stages: Those to look at.
        wanted: Indices to look at; None: all, and what they share.
        dry_run: Move and compute nothing.
        rerun: Compute again what was moved, here.
        workers: Worker processes; 0 shares the cores out.
    """
    found = damage(experiment, stages, wanted)
    moved = [] if dry_run else move_aside(experiment, found)
    code = 0
    if rerun and found and not dry_run:
        options = RunOptions(cluster="local", workers=workers)
        code = compute_again(experiment, stages, found, options, Console(stderr=True))
    damaged = arrays(found)
    return Repair(
        findings=list(map(str, found)),
        moved=list(map(str, moved)),
        arrays=damaged,
        told=_told(experiment, damaged, len(moved), rerun=rerun, dry_run=dry_run),
        code=code,
    )


def restore_root(root: Path, *, dry_run: bool) -> list[str]:
    """Write a damaged plan or identity again, as the settings say; returns what was wrong.

    Raises:
        ExperimentError: It does not follow from what is left.
    """
    found = []
    for path, content in damaged_files(root).items():
        found.append(f"{path} is damaged; it follows from the settings")
        if not dry_run:
            _move(root, path, _place(root))
            durable.write(path, content)
    return found


def damage(experiment: Experiment, stages: Sequence[Stage], wanted: Sequence[int] | None) -> list[Finding]:
    """Return everything that is damaged of some stages; what is being written now is left alone."""
    found: list[Finding] = []
    for stage in stages:
        there = on_disk(experiment, stage)
        indices = there if wanted is None else sorted(set(there) & set(wanted))
        found += [each for each in find(experiment, stage, indices) if not _busy(experiment, each)]
        found += find_shared(experiment, stage) if wanted is None else ()
    return found


def _busy(experiment: Experiment, finding: Finding) -> bool:
    assert finding.index is not None
    key = STAGES[finding.stage].key(experiment, finding.index)
    return lease.held(experiment.layout.lease(finding.stage, key)) is not None


def move_aside(experiment: Experiment, found: Iterable[Finding]) -> list[Path]:
    """Move what is damaged, and what vouches for it, into a folder of its own; returns the new paths."""
    root, moved = experiment.layout.root, []
    aside = _place(root)
    for finding in found:
        at, stage = lease.SHARED, STAGES[finding.stage]
        if finding.index is not None:
            at = place(experiment, stage, finding.index)
        with lease.exclusive(experiment.layout.lease_lock(finding.stage), at):
            moved += [_move(root, path, aside) for path in finding.paths if path.exists()]
    return moved


def _place(root: Path) -> Path:
    return root / "damaged" / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def _move(root: Path, path: Path, place: Path) -> Path:
    target = place / path.relative_to(root)
    while target.exists():
        target = target.with_name(f"{target.name}.again")
    durable.make_folder(target.parent)
    path.rename(target)
    durable.sync_folder(target.parent)
    durable.sync_folder(path.parent)
    return target


def arrays(found: Iterable[Finding]) -> dict[str, str]:
    """Return, by stage, the damaged indices as a value of `--array`; empty for what they share."""
    by_stage: dict[str, set[int]] = {}
    for each in found:
        by_stage.setdefault(each.stage, set()).update([] if each.index is None else [each.index])
    return {stage: format_array(indices) if indices else "" for stage, indices in by_stage.items()}


def compute_again(
    experiment: Experiment,
    stages: Iterable[Stage],
    found: Sequence[Finding],
    options: RunOptions,
    console: Console,
) -> int:
    """Compute again what was moved aside, stage by stage; returns an exit code.

    An index that was not finished is left to the next run, as before.
    """
    worst = 0
    for stage in stages:
        of_stage = [each for each in found if each.stage == stage.name]
        if not of_stage:
            continue
        marked = [each.index for each in of_stage if each.index is not None and each.finished]
        if any(each.index is None for each in of_stage):  # and so no marker vouches for what is shared
            with lease.exclusive(experiment.layout.lease_lock(stage.name)):
                restore = stage.shared(experiment).restore
                restore() if restore else stage.prepare(experiment)
        worst = worst or run_stage(experiment, stage, sorted(set(marked)), options, console)
    return worst


def _told(
    experiment: Experiment, damaged: Mapping[str, str], moved: int, *, rerun: bool, dry_run: bool
) -> tuple[str, ...]:
    if not damaged:
        return ()
    again = ", ".join(f"{stage} {array}".rstrip() for stage, array in damaged.items())
    if dry_run:
        return (f"would be moved into {experiment.layout.root / 'damaged'} and computed again: {again}",)
    done = f"computed again: {again}" if rerun else f"to compute again: {again}"
    return (f"{moved} files moved into {experiment.layout.root / 'damaged'}; {done}",)
