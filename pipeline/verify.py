"""Whether what is on disk is what was computed: digests of all of it, and a sample trained again."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline import gather
from pipeline.array_spec import format_array
from pipeline.entries import Entries
from pipeline.execute import EXIT_DONE, execute
from pipeline.identity import Identities
from pipeline.status import stage_status
from slurm.preemption import EXIT_STOPPED
from stages.collect.stage import CollectStage
from stages.experiment import Experiment
from stages.search_spaces.chosen import check_space
from stages.settings import ConfigError
from stages.stage import Stage
from storage_schema import legacy, markers, schema, sealed, write
from storage_schema.errors import UserError
from storage_schema.layout import Layout
from storage_schema.read import StoreError, open_dynamics, reading

BITS_DEPEND_ON = ("device", "torch", "numpy", "python", "numerics")


class VerifyError(UserError, RuntimeError):
    """A verification that did not come to its end."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something on disk that is not as it was written.

    Attributes:
        index: Of the stage; None for what its indices share.
        paths: What to move aside before it is computed again.
        text: What is wrong, and what would help.
        finished: Whether it was done, so that it has to be computed again; else the next run goes on with it.
    """

    stage: str
    index: int | None
    paths: tuple[Path, ...]
    text: str
    finished: bool = True

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was looked at, and what is wrong.

    Attributes:
        checked: Finished indices.
        trained_again: Networks.
        findings: A line each.
        partial: By stage, as an `--array` value, indices with files that no marker vouches for.
        stale: The same of those done with other settings or inputs.
    """

    checked: int
    trained_again: int
    findings: list[str]
    partial: dict[str, str]
    stale: dict[str, str]


Tracked = Callable[[Sequence[int], str], Iterable[int]]
"""Goes through indices and shows how far it is, under a description."""


def check(
    experiment: Experiment,
    stages: Iterable[Stage],
    wanted: Sequence[int] | None,
    *,
    sample: int,
    seed: int,
    tracked: Tracked,
) -> Report:
    """Compare all that is on disk of some stages with what vouches for it, and train some networks again.

    Args:
        experiment: The experiment.
        stages: Those to look at.
        wanted: Indices to look at; None: all, and what they share.
        sample: Finished networks to train again.
        seed: Which ones.
        tracked: Shows how far it is.

    Raises:
        ConfigError: There are not so many finished networks.
    """

    def among(indices: Sequence[int]) -> list[int]:
        return list(indices) if wanted is None else sorted(set(indices) & set(wanted))

    findings: list[str] = []
    checked, partial, stale = 0, {}, {}
    collected = among(stage_status(experiment, CollectStage()).indices["done"]) if sample else []
    again = choose_sample(collected, sample, seed) if sample else []
    for stage in stages:
        status = stage_status(experiment, stage)
        there = among(on_disk(experiment, stage))
        findings += verify_digests(experiment, stage, tracked(there, f"{stage.name}: digests"))
        findings += map(str, find_shared(experiment, stage) if wanted is None else ())
        checked += len(among(status.indices["done"]))
        stale[stage.name] = format_array(among(status.indices["stale"]))
        partial[stage.name] = format_array(without_marker(experiment, stage, among(status.unfinished)))
    findings += verify_by_training(experiment, tracked(again, "trained again")) if again else []
    return Report(checked=checked, trained_again=sample, findings=findings, partial=partial, stale=stale)


def verify_digests(experiment: Experiment, stage: Stage, indices: Iterable[int]) -> list[str]:
    """Compare files with what vouches for them; returns one line for each that differs."""
    return [str(finding) for finding in find(experiment, stage, indices)]


def find(experiment: Experiment, stage: Stage, indices: Iterable[int]) -> Iterator[Finding]:
    """Compare the files of indices with their markers, and checkpoints with their seals."""
    identities = Identities(experiment)
    for index in indices:
        yield from _marked(experiment, stage, index, identities)
        yield from _checkpoint(experiment, stage, index)


def find_shared(experiment: Experiment, stage: Stage) -> Iterator[Finding]:
    """Compare what a stage's indices share with the marker that vouches for it."""
    again, path = f"run --stage {stage.name}", experiment.layout.shared(stage.name)
    try:
        marker = gather.marker(experiment, stage)
    except markers.MarkerError as error:
        yield Finding(stage=stage.name, index=None, paths=(path,), text=f"{error}; delete it and {again}")
        return
    if marker is None:
        return
    files = stage.shared(experiment).files
    for name, state in _states(marker.digests, write.digests(files), files).items():
        paths = (files[name], path) if name in files else (path,)
        text = f"{stage.name}: {name} {state}; pipeline repair, or delete it and {path}, then {again}"
        yield Finding(stage=stage.name, index=None, paths=paths, text=text)


def _marked(experiment: Experiment, stage: Stage, index: int, identities: Identities) -> Iterator[Finding]:
    key, files = stage.key(experiment, index), stage.files(experiment, index)
    path = legacy.marker_in_force(experiment.layout, stage.name, index, key)
    everything, where = (path, *files.values()), f"{stage.name} {index}"
    again = f"delete {path} and run --stage {stage.name} --array {index}"
    try:
        marker = markers.load(path)
    except markers.MarkerError as error:
        yield Finding(stage=stage.name, index=index, paths=everything, text=str(error))
        return
    if marker is None:
        return
    if not marker.is_of(stage.name, index, key):
        text = f"{where}: the marker is of {marker.stage} {marker.key or marker.index}; {again}"
        yield Finding(stage=stage.name, index=index, paths=everything, text=text)
        return
    if not identities.done(stage, index) and stage.settings(experiment, index) is None:
        text = f"{where}: the marker is of {marker.stage} {marker.index}, {marker.identity}; {again}"
        yield Finding(stage=stage.name, index=index, paths=everything, text=text)
        return
    found = stage.digests(experiment, replace(marker, index=index))  # where it is now
    for name, state in _states(marker.digests, found, files).items():
        text = f"{where}: {name} {state}; {again}"
        yield Finding(stage=stage.name, index=index, paths=everything, text=text)


def _checkpoint(experiment: Experiment, stage: Stage, index: int) -> Iterator[Finding]:
    path = experiment.layout.checkpoint(stage.name, stage.key(experiment, index))
    try:
        damaged = sealed.read(path) is None
    except FileNotFoundError:
        return
    if damaged:
        text = f"{stage.name} {index}: its checkpoint is damaged; the next run begins it anew"
        yield Finding(stage=stage.name, index=index, paths=(path,), text=text, finished=False)


def _states(kept: Mapping[str, str], found: Mapping[str, str], expected: Iterable[str]) -> dict[str, str]:
    names = dict.fromkeys((*expected, *found, *kept))
    states = {name: _state(kept.get(name), found.get(name)) for name in names}
    return {name: state for name, state in states.items() if state}


def _state(kept: str | None, found: str | None) -> str | None:
    if kept is None:
        return None if found is None else "has no digest in the marker"
    if found is None:
        return "is missing"
    return None if found == kept else "differs from its digest"


def on_disk(experiment: Experiment, stage: Stage) -> list[int]:
    """Return the indices of a stage that have a marker or a checkpoint, whatever they are worth."""
    entries = Entries(experiment, stage)
    return sorted(entries.marked() | entries.with_checkpoint())


def without_marker(experiment: Experiment, stage: Stage, indices: Iterable[int]) -> list[int]:
    """Return those of the indices that have files though no marker vouches for them: no error, only unfinished."""
    paths = {i: stage.files(experiment, i).values() for i in indices}
    return [index for index, files in paths.items() if any(file.exists() for file in files)]


def choose_sample(done: Sequence[int], number: int, seed: int) -> list[int]:
    """Draw finished indices to train again.

    Raises:
        ConfigError: There are not so many.
    """
    if number > len(done):
        raise ConfigError(f"--sample {number} is more than the {len(done)} finished indices")
    return sorted(random.Random(seed).sample(list(done), number))


def verify_by_training(experiment: Experiment, indices: Iterable[int]) -> list[str]:
    """Train indices again, outside the experiment, and compare value by value.

    Returns:
        One line for each index that differs, with its first difference.

    Raises:
        VerifyError: Asked to stop; the experiment is as it was.
        ConfigError: The experiment is of other numerics than this code.
    """
    stage, findings = CollectStage(), []
    check_space(experiment)
    stage.admit(experiment)
    with tempfile.TemporaryDirectory(prefix="pipeline-verify-") as folder:
        again = replace(experiment, layout=Layout(Path(folder)))
        stage.prepare(again)
        for index in indices:
            code = execute(again, stage, index)
            if code == EXIT_STOPPED:
                raise VerifyError(f"stopped while index {index} was trained again; run verify again")
            difference = (
                _difference(experiment, again, index) if code == EXIT_DONE else _why_not(again, index)
            )
            if difference:
                findings.append(f"collect {index}: {difference}")
    return findings


def _difference(experiment: Experiment, again: Experiment, index: int) -> str | None:
    path = experiment.layout.dynamics
    kept, new = (open_dynamics(each).isel(architecture=index) for each in (path, again.layout.dynamics))
    try:
        with reading(path):
            difference = first_difference(kept, new)
    except StoreError as error:
        return str(error)
    if difference is None:
        return None
    then, now = (markers.load(e.layout.marker("collect", index)) for e in (experiment, again))
    changed = changes(then.provenance if then else {}, now.provenance if now else {})
    return f"{difference} ({changed})" if changed else difference


def _why_not(again: Experiment, index: int) -> str:
    reason = stage_status(again, CollectStage()).failures.get(index, "no reason is recorded")
    return f"could not be trained again: {reason}"


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say which device or versions differ: bits are promised for one set of them only (R10)."""
    keys = [k for k in BITS_DEPEND_ON if then.get(k) != now.get(k)]
    resumed = ["resumed on another device then"] if then.get("resumed_on") else []
    return ", ".join([f"{k} {then.get(k)} then, {now.get(k)} now" for k in keys] + resumed)


def first_difference(kept: xr.Dataset, new: xr.Dataset) -> str | None:
    """Name the first value that differs: by snapshot, then layer, kind, statistic; then the curves."""
    for k in range(kept.sizes["snapshot"]):
        places = []
        for order, kind in enumerate(schema.KINDS):
            old, fresh = (each[kind].isel(snapshot=k).values for each in (kept, new))
            found = differing(old, fresh)
            if len(found):
                layer, value, feature = (int(i) for i in min(found, key=lambda at: (at[0], at[2], at[1])))
                pair = (float(old[layer, value, feature]), float(fresh[layer, value, feature]))
                places.append((layer, order, kind, feature, value, pair))
        if places:
            layer, _, kind, feature, value, (was, now) = min(places, key=lambda place: place[:2])
            name = str(kept["layer_name"].values[layer])
            return (
                f"snapshot {k}, layer {layer} ({name}), {kind}, {schema.FEATURES[feature]}, value {value}: "
                f"stored {was!r}, trained again {now!r}"
            )
    old, fresh = kept["curves"].values, new["curves"].values
    found = differing(old, fresh)
    if not len(found):
        return None
    step, curve = (int(i) for i in found[0])
    both = f"stored {old[step, curve]}, trained again {fresh[step, curve]}"
    return f"{schema.CURVES[curve]} of mini-batch {step + 1}: {both}"


def differing(old: NDArray[np.float32], fresh: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the places, in order, where two arrays differ in any bit; NaN equals NaN whatever its bits."""
    same = old.view(np.uint32) == fresh.view(np.uint32)
    return np.argwhere(~(same | (np.isnan(old) & np.isnan(fresh))))
