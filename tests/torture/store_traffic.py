"""Writers that fill a real store with known values, and readers that check what they see of it meanwhile."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline import predict as prediction
from pipeline.array_spec import parse_array
from pipeline.execute import EXIT_DONE, execute
from pipeline.status import stage_status
from slurm.preemption import EXIT_STOPPED
from stages.collect.stage import CollectStage, store_sizes
from stages.experiment import Experiment
from stages.labels.stage import LabelsStage, label_digest
from stages.recording.config import RecordingConfig
from stages.recording.recorder import Recorder
from stages.stage import Execution, Outcome
from storage_schema import markers, schema
from storage_schema.write import ArchitectureWriter, file_digests

UNITS = 8  # of each layer, as far as statistics go


def maps(experiment: Experiment, index: int) -> dict[str, NDArray[np.float32]]:
    """Statistics of an architecture at its end: drawn, and the same whenever they are asked for."""
    sizes, draw = store_sizes(experiment), np.random.default_rng(index)
    found = {}
    for kind in schema.KINDS:
        found[kind] = np.full(sizes.of(schema.VARIABLES[kind].dims)[1:], np.nan, np.float32)
        rows = draw.standard_normal((sizes.snapshots, sizes.layers, UNITS, len(schema.FEATURES)))
        found[kind][:, :, :UNITS] = rows
    return found


def curves(experiment: Experiment, index: int, snapshots: int) -> NDArray[np.float32]:
    """What the curves say when so many snapshots are written."""
    sizes, steps = store_sizes(experiment), experiment.settings(RecordingConfig).steps[:snapshots]
    found = np.full((sizes.mini_batches, len(schema.CURVES)), np.nan, np.float32)
    found[: steps[-1], schema.CURVES.index("training_loss")] = index
    found[[step - 1 for step in steps], schema.CURVES.index("written")] = 1
    return found


@dataclass(frozen=True)
class Filling(CollectStage):
    """The stage `collect` with known values for training's; it is killed or stopped nowhere."""

    pause: float = 0.0

    def run(self, experiment: Experiment, index: int, execution: Execution) -> Outcome:
        final, writer = maps(experiment, index), ArchitectureWriter(experiment.layout.dynamics, index)
        count = store_sizes(experiment).snapshots
        for k in range(1, count + 1):
            growing = {kind: rows.copy() for kind, rows in final.items()}
            for rows in growing.values():
                rows[k:] = np.nan
            with execution.guard():
                recorder = SimpleNamespace(maps=growing, curves=curves(experiment, index, k))
                Recorder.flush(recorder, writer)  # type: ignore[arg-type]
            execution.should_stop()
            time.sleep(self.pause)
        seconds = {activity: [0.5] * count for activity in schema.ACTIVITIES}
        return Outcome(
            digests=writer.digests(), result={"diverged": False, "seconds": seconds}, provenance={"host": "h"}
        )


class KnownLabels(LabelsStage):
    """The stage `labels` with a number for training's result."""

    def run(self, _: Experiment, index: int, __: Execution) -> Outcome:
        label = (index * 37 % 100) / 100
        return Outcome(digests={"label": label_digest(label)}, result={"label": label}, provenance={})


@dataclass(frozen=True)
class Traffic:
    """What writers and readers share: the store, until when, and a place for what is wrong.

    Attributes:
        opened: Number of times that a reader opened the store, over all processes.
        faults: Queue of what readers and writers found wrong.
    """

    experiment: Experiment
    go_on: Callable[[], bool]
    opened: Any
    faults: Any

    def repeat(self, work: Callable[[], None]) -> None:
        """Do something again and again, and report what it raises."""
        try:
            while self.go_on():
                work()
        except BaseException:  # noqa: BLE001  the end of a process: it is reported
            self.faults.put(traceback.format_exc())

    def count(self) -> None:
        with self.opened.get_lock():
            self.opened.value += 1


def write(traffic: Traffic, pause: float) -> None:
    """Walk over the indices as a worker does, and step aside from the others'."""
    indices = iter(range(len(traffic.experiment.architectures)))

    def one() -> None:
        index = next(indices, None)
        if index is None:
            time.sleep(0.1)
            return
        code = execute(traffic.experiment, Filling(pause), index, announce_taken=False)
        assert code in (EXIT_DONE, EXIT_STOPPED), f"index {index}: exit code {code}"

    traffic.repeat(one)


def read_plainly(traffic: Traffic, seed: int) -> None:
    """Open with xarray alone and compare: a snapshot is there whole, or not at all."""
    draw, root = random.Random(seed), traffic.experiment.layout.dynamics

    def one() -> None:
        begun = sorted(int(path.name) for path in root.glob("curves/c/*"))
        chosen = {*begun[-6:], *draw.sample(begun, min(2, len(begun)))}
        vouched = {i: markers.load(traffic.experiment.layout.marker("collect", i)) for i in chosen}
        data = xr.open_zarr(root)
        traffic.count()
        for index in chosen:
            fault = what_is_wrong(traffic.experiment, data, index, vouched[index])
            assert fault is None, f"architecture {index}: {fault}"

    traffic.repeat(one)


def what_is_wrong(
    experiment: Experiment, data: xr.Dataset, index: int, marker: markers.Marker | None
) -> str | None:
    """Compare what is seen of an architecture with what may be; `marker` is what was there before."""
    curve = data["curves"][index].values[:, schema.CURVES.index("written")]
    said = int(np.nansum(curve))
    if marker is not None and (said < data.sizes["snapshot"] or file_digests_differ(experiment, marker)):
        return "it is not what its marker vouches for"
    for kind, whole in maps(experiment, index).items():
        seen = data[kind][index].values
        for k in range(len(seen)):
            there = not np.isnan(seen[k]).all()
            if there and not np.array_equal(seen[k], whole[k], equal_nan=True):
                return f"snapshot {k} of {kind} is torn"
            if k < said and not there:
                return f"snapshot {k} of {kind} is not there, though the curves say so"
    return None


def file_digests_differ(experiment: Experiment, marker: markers.Marker) -> bool:
    return file_digests(experiment.layout.dynamics, marker.index) != marker.digests


def watch(traffic: Traffic) -> None:
    """What `status` counts as done stays done, and nothing is lost or failed."""
    done: set[int] = set()

    def one() -> None:
        status = stage_status(traffic.experiment, Filling())
        assert set(status.indices["done"]) >= done, "done is no more"
        done.update(status.indices["done"])
        assert status.total == len(traffic.experiment.architectures)
        assert not status.indices["failed"], status.failures
        assert not status.indices["stale"], status.indices["stale"]

    traffic.repeat(one)


def watch_by_command(traffic: Traffic) -> None:
    """The same by the command line."""
    command = [sys.executable, "-W", "error", "-m", "pipeline", "status", "--stage", "collect", "--json"]
    last: set[int] = set()

    def one() -> None:
        nonlocal last
        told = subprocess.run(
            [*command, "-e", str(traffic.experiment.layout.root)], capture_output=True, text=True, check=False
        )
        assert (told.returncode, told.stderr) == (0, ""), told
        said = json.loads(told.stdout)["stages"]["collect"]["done"]
        done = set(parse_array(said).indices if said else ())
        assert done >= last, last - done
        last = done

    traffic.repeat(one)


def rank(traffic: Traffic, model: prediction.Model, scores: Any) -> None:
    """Predict from what there is; the score of an architecture is the same every time."""
    seen: dict[int, float] = {}

    def one() -> None:
        try:
            found = prediction.rank(traffic.experiment, model, None)
        except prediction.PredictError as error:
            if "no architecture has" not in str(error):
                raise
            return
        for row in found.rows:
            np.testing.assert_allclose(
                row["score"], seen.setdefault(row["index"], row["score"]), rtol=1e-5, atol=1e-6
            )

    traffic.repeat(one)
    scores.put(seen)
