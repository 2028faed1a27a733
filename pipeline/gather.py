"""What the indices of a stage share: made before them, gathered after them, by one process at a time.

A marker of its own vouches for it, as the indices' markers do for theirs. It is taken away while something is
gathered: after a kill nothing vouches for what was being written, and the next run gathers again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.entries import Entries, stem
from pipeline.identity import Identities
from stages.experiment import Experiment
from stages.stage import Stage
from storage_schema import durable, lease, markers, write

INDEX = -1
"""Of the marker, where others have the index they are of."""


def prepare(experiment: Experiment, stage: Stage) -> None:
    """Create what the indices of a stage share, unless it is there, and clear away what killed writers have left."""
    with lease.exclusive(experiment.layout.lease_lock(stage.name)):
        _clear(experiment, stage)
        before, known = write.digests(stage.shared(experiment).files), _known(experiment, stage)
        _take_away_marker(experiment, stage)
        stage.prepare(experiment)
        after = write.digests(stage.shared(experiment).files)
        # What was there before and is not vouched for stays so: it may be damaged.
        new = {name: value for name, value in after.items() if before.get(name) != value}
        gone = before.keys() - after.keys()
        kept = {name: value for name, value in (known or {}).items() if name not in gone}
        _vouch(experiment, stage, after if known is None else kept | new)
    _clear_indices(experiment, stage)


def finalise(experiment: Experiment, stage: Stage) -> None:
    """Gather what the finished indices of a stage say."""
    with lease.exclusive(experiment.layout.lease_lock(stage.name)), rewriting(experiment, stage):
        stage.finalise(experiment)


@contextmanager
def rewriting(experiment: Experiment, stage: Stage) -> Iterator[None]:
    """Let nothing vouch for what the indices share while it is written, then for all of it; the caller has the lock."""
    _clear(experiment, stage)
    _take_away_marker(experiment, stage)
    yield
    _vouch(experiment, stage, write.digests(stage.shared(experiment).files))


def marker(experiment: Experiment, stage: Stage) -> markers.Marker | None:
    """Return what vouches for what the indices share; None where nothing does.

    Raises:
        MarkerError: It is damaged.
    """
    path = experiment.layout.shared(stage.name)
    found = markers.load(path)
    if found is not None and (found.stage, found.index, found.identity) != _of(experiment, stage):
        raise markers.MarkerError(f"{path} is of {found.stage} {found.index}, {found.identity}")
    return found


def _of(experiment: Experiment, stage: Stage) -> tuple[str, int, str]:
    return stage.name, INDEX, experiment.identity


def _take_away_marker(experiment: Experiment, stage: Stage) -> None:
    """Remove the marker, durably: after a power cut the old one would call what was written since damaged."""
    path = experiment.layout.shared(stage.name)
    if path.exists():
        path.unlink()
        durable.sync_folder(path.parent)


def _known(experiment: Experiment, stage: Stage) -> dict[str, str] | None:
    try:
        found = marker(experiment, stage)
    except markers.MarkerError:
        return {}
    return None if found is None else found.digests


def _vouch(experiment: Experiment, stage: Stage, digests: dict[str, str]) -> None:
    if digests:
        name, index, identity = _of(experiment, stage)
        found = markers.Marker(stage=name, index=index, identity=identity, fence=0, digests=digests)
        found.save(experiment.layout.shared(stage.name))


def _clear(experiment: Experiment, stage: Stage) -> None:
    shared = stage.shared(experiment)
    beside = [experiment.layout.shared(stage.name), *([shared.store] if shared.store else [])]
    for path in (*beside, *shared.files.values()):
        if path.name.endswith(durable.PARTIAL):
            durable.remove(path)
        else:
            durable.remove_left_beside(path)


def _clear_indices(experiment: Experiment, stage: Stage) -> None:
    """Remove what is left beside markers, checkpoints, leases and failures, and those of done indices.

    Each is removed under the lock it is written under.
    """
    layout, name, identities = experiment.layout, stage.name, Identities(experiment)
    entries, shared = Entries(experiment, stage), stem(layout.shared(name))
    folders = [path(name, 0).parent for path in (layout.checkpoint, layout.lease, layout.failure)]
    for path in [path for folder in (layout.markers(name), *folders) for path in _listed(folder)]:
        index, of = entries.index(path), stem(path)
        done = path.parent in folders and index is not None and identities.done(stage, index)
        if done or path.name.endswith(durable.PARTIAL):
            place = lease.SHARED if of == shared else lease.place(of)
            with lease.exclusive(layout.lease_lock(name), place):
                if not done or lease.held(layout.lease(name, 0).with_name(f"{of}.json")) is None:
                    durable.remove(path)


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def clear_index(experiment: Experiment, stage: Stage, index: int) -> None:
    """Remove what killed writers have left beside the files of an index, which nobody else writes now."""
    for path in stage.files(experiment, index).values():
        durable.remove_left_beside(path)


def left(root: Path) -> list[Path]:
    """Return the temporary files and folders that are left in an experiment."""
    return sorted(root.rglob(f"*{durable.PARTIAL}"))
