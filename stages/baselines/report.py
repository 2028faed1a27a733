"""What the `baselines` stage has found, method by method: τ by snapshot, and what it costs (R20, R21)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from stages.baselines import results, tasks
from stages.baselines.method import Floats, Method
from stages.baselines.registry import METHODS
from stages.baselines.results import Result
from stages.baselines.tasks import BEFORE_TRAINING
from stages.evaluation.metrics import kendall
from stages.evaluation.tables import MISSING, plain_table
from stages.sources import target_trial
from stages.stage import Experiment
from stages.zero_cost.columns import COLUMNS
from storage_schema import schema, splits
from storage_schema.read import open_derived, open_dynamics, reading

NOMINAL_SECONDS: Final = 9.0
"""Of 100 mini-batches on the paper's device (R21)."""
NOMINAL_LABEL_SECONDS: Final = 3600.0
"""Of one training architecture's label (R21)."""
COSTS: Final = 5
"""Columns of a table behind those of snapshots."""


def table(experiment: Experiment) -> list[str]:
    """Return lines: a table for each source and train size."""
    lines: list[str] = []
    for found in rows(experiment):
        empty = [""] * COSTS
        seconds = [[name, *map(_seconds, found["seconds"][name]), *empty] for name in found["seconds"]]
        lines += [found["title"], plain_table([found["heading"], *found["rows"], *seconds]), *found["notes"]]
    return lines


def rows(experiment: Experiment) -> Iterator[dict[str, Any]]:
    """Yield, for each source and train size: title, heading, a row a method, seconds to each snapshot, and notes.

    Notes say why cells are empty, and what some are to be read with.
    """
    steps, costs = experiment.config.recording.steps, Costs(experiment)
    for source, _ in tasks.blocks(experiment):
        trials = range(source.experiment.config.splits.num_trials)
        found = {trial: results.of_trial(experiment, source.name, trial) for trial in trials}
        labels = [_labels(experiment, trial) for trial in trials]
        everything = [result for of_trial in found.values() for result in of_trial]
        notes = [f"{MISSING} {method}: {note}" for method, note in results.notes(everything, steps).items()]
        folder = source.experiment.layout.split(0)
        split = splits.read(folder, len(source.experiment.architectures))
        for size in source.experiment.config.splits.train_sizes:
            columns = [f"{step} mb" for step in steps[1:]]
            yield {
                "title": f"{source.name}, train size {size}: Kendall τ-b, mean ± deviation over {len(trials)} trials",
                "heading": [
                    "method",
                    *columns,
                    "labels",
                    "fit s",
                    "query s",
                    "nominal labels s",
                    "nominal query s",
                ],
                "rows": [
                    [
                        name,
                        *_cells(experiment, found, labels, name, size),
                        *_costs(len(split.of_size(size)), costs, _of(everything, name, size), name),
                    ]
                    for name in experiment.config.baselines.chosen
                ],
                "seconds": costs.to_each_snapshot(),
                "notes": [*notes, *results.remarks(experiment)],
            }


class Costs:
    """Seconds of what methods read of the tested architectures, from the stores' own measurements.

    A query at a snapshot is training up to it, with the validation where a method reads its curve.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._trace = _trace_seconds(experiment)
        self._columns = _column_seconds(experiment)

    def measured(self, method: Method) -> float:
        """Return the mean seconds of a network's trace, up to the last snapshot, and of its zero-cost columns."""
        passes = {COLUMNS[name].proxy: self._columns.get(name, np.nan) for name in method.columns}
        total = sum(passes.values())
        if method.follows_trace:
            total += self._trace["training"][-1]
        if "validation accuracy" in method.needs:
            total += self._trace["validation"][-1]
        return float(total)

    def nominal(self, method: Method) -> float:
        """Return the same by the paper's clock; what is computed before training counts nothing."""
        return self._clock()[-1] * method.follows_trace

    def to_each_snapshot(self) -> dict[str, list[float]]:
        """Return by snapshot what a query of the trace up to it takes: training, with validation, and nominally."""
        training, validation = self._trace["training"], self._trace["validation"]
        return {
            "seconds of training": training.tolist(),
            "seconds with validation": (training + validation).tolist(),
            "nominal seconds": self._clock(),
        }

    def _clock(self) -> list[float]:
        return [NOMINAL_SECONDS * step / 100 for step in self._experiment.config.recording.steps[1:]]


def _trace_seconds(experiment: Experiment) -> dict[str, Floats]:
    """Return by activity the mean seconds of a network up to each snapshot, the initial one aside."""
    path = experiment.layout.dynamics
    with reading(path):
        seconds = open_dynamics(path)["seconds"].load().mean("architecture").cumsum("snapshot", skipna=False)
        return {
            str(name): seconds.sel(activity=name).values[1:].astype(np.float64) for name in schema.ACTIVITIES
        }


def _column_seconds(experiment: Experiment) -> dict[str, float]:
    path = experiment.layout.zero_cost
    if not (path / "zarr.json").is_file():
        return {}
    store = open_derived(path, "zero-cost", schema.ZERO_COST)
    with reading(path):
        mean = store["seconds"].mean("architecture").values
        return {str(name): float(value) for name, value in zip(store["proxy"].values, mean, strict=True)}


def _of(found: Sequence[Result], name: str, size: str) -> list[Result]:
    return [each for each in found if each.task.method == name and each.task.size in ("", size)]


def _cells(
    experiment: Experiment,
    found: Mapping[int, list[Result]],
    labels: Sequence[Floats],
    name: str,
    size: str,
) -> list[str]:
    snapshots = experiment.config.recording.snapshots
    taus = np.full((len(found), snapshots), np.nan)
    for trial, everything in found.items():
        for result in _of(everything, name, size):
            for snapshot, scores in zip(result.task.snapshots, result.scores, strict=True):
                where = slice(None) if snapshot == BEFORE_TRAINING else snapshot - 1
                taus[trial, where] = kendall(scores, labels[trial])
    return [_plus_minus(column) for column in taus.T]


def _labels(experiment: Experiment, trial: int) -> Floats:
    folder = experiment.layout.split(target_trial(experiment, trial))
    split = splits.read(folder, len(experiment.architectures))
    return np.array([split.labels[i] for i in split.test])


def _plus_minus(values: Floats) -> str:
    """Empty where a trial has no τ, as a mean over the others would be of another sample."""
    if np.isnan(values).any():
        return MISSING
    return f"{values.mean():.3f}" + (f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else "")


def _costs(trained: int, costs: Costs, mine: Sequence[Result], name: str) -> list[str]:
    """Return labels, seconds of a fit and of a query, and both by the paper's clock."""
    method = METHODS[name]
    if not mine:
        return [MISSING] * COSTS
    labels = trained if method.learned else 0
    fit = float(np.mean([result.fit_seconds.mean() for result in mine]))
    query = float(np.mean([result.query_seconds.mean() for result in mine])) + costs.measured(method)
    return [
        str(labels),
        _seconds(fit),
        _seconds(query),
        f"{labels * NOMINAL_LABEL_SECONDS:.2g}",
        f"{costs.nominal(method):.0f}",
    ]


def _seconds(value: float) -> str:
    return MISSING if np.isnan(value) else f"{value:.2g}"
