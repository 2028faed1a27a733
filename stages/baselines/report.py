"""What the `baselines` stage has found, method by method: τ by snapshot, and what it costs (R20, R21)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from stages.baselines import tasks
from stages.baselines.config import BaselinesConfig
from stages.baselines.method import Floats, Method
from stages.baselines.proxies import mean_seconds
from stages.baselines.registry import METHODS
from stages.experiment import Experiment
from stages.recording.config import RecordingConfig
from stages.scoring import results
from stages.scoring.metrics import UPPER_HALF, kendall, upper_half
from stages.scoring.results import BEFORE_TRAINING, Result
from stages.scoring.sources import target_trial
from stages.scoring.tables import MISSING, histogram_table, plain_table
from stages.splits.config import SplitsConfig
from stages.zero_cost.columns import COLUMNS
from storage_schema import schema
from storage_schema.read import open_dynamics, reading

NOMINAL_SECONDS: Final = 9.0
"""Of 100 mini-batches on the paper's device (R21)."""
NOMINAL_LABEL_SECONDS: Final = 3600.0
"""Of one training architecture's label (R21)."""
HEADINGS: Final = {
    "labels": "labels",
    "fit_seconds": "fit s",
    "query_seconds": "query s",
    "nominal_label_seconds": "nominal labels s",
    "nominal_query_seconds": "nominal query s",
}
"""What a method costs, behind the columns of snapshots: names in data, and in the table."""


def table(experiment: Experiment) -> list[str]:
    """Return lines: two tables for each source and train size, of all architectures tested and of the upper half."""
    lines: list[str] = []
    for found in rows(experiment):
        columns = [f"{mini_batches} mb" for mini_batches in found["mini_batches"]]
        methods, costs = found["methods"], [""] * len(HEADINGS)
        seconds = [[name, *map(_seconds, values), *costs] for name, values in found["seconds"].items()]
        shown = [
            [each["method"], *map(_plus_minus, each["tau"]), *(_cost(each, name) for name in HEADINGS)]
            for each in methods
        ]
        upper = [[each["method"], *map(_plus_minus, each["tau_upper_half"])] for each in methods]
        title = f"{found['source']}, train size {found['size']}"
        lines += [
            f"{title}: Kendall τ-b, mean ± deviation over {found['trials']} trials",
            plain_table([["method", *columns, *HEADINGS.values()], *shown, *seconds]),
            *found["notes"],
            "",
            f"{UPPER_HALF} by accuracy",
            plain_table([["method", *columns], *upper]),
            histogram_table(np.array(found["labels"])),
        ]
    return lines


def rows(experiment: Experiment) -> Iterator[dict[str, Any]]:
    """Yield what is known of each source and train size, as plain data.

    Yields:
        `source`, `size`, `trials`, `mini_batches` of the snapshots; `methods`, each with `tau` and `tau_upper_half` (a
        list of trials for each snapshot, None: no τ), labels, seconds of a fit and of a query up to the last snapshot,
        and both by the paper's clock; `seconds` up to each snapshot; `notes`: why cells are empty, and what some are
        to be read with; `labels` of the tested architectures, fractions (R20, R21, R22).
    """
    costs, chosen = Costs(experiment), experiment.settings(BaselinesConfig).chosen
    for source, _ in tasks.blocks(experiment):
        trials = range(source.experiment.settings(SplitsConfig).num_trials)
        found = {trial: results.of_trial(experiment, source.name, trial) for trial in trials}
        tested = [_labels(experiment, trial) for trial in trials]
        labels = [np.array(list(of_trial.values())) for of_trial in tested]
        everything = [result for of_trial in found.values() for result in of_trial]
        notes = results.note_lines([results.notes(experiment, source.name, found)])
        split = source.experiment.split(0)
        for size in source.experiment.settings(SplitsConfig).train_sizes:
            trained, methods = len(split.of_size(size)), []
            for name in chosen:
                tau, upper = _taus(experiment, found, labels, name, size)
                mine = [each for each in everything if _is_of(each, name, size)]
                methods.append(
                    {
                        "method": name,
                        "tau": [_or_none(column) for column in tau.T],
                        "tau_upper_half": [_or_none(column) for column in upper.T],
                        **_costs(trained, costs, mine, METHODS[name]),
                    }
                )
            yield {
                "source": source.name,
                "size": size,
                "trials": len(trials),
                "mini_batches": list(experiment.settings(RecordingConfig).steps[1:]),
                "methods": methods,
                "seconds": costs.to_each_snapshot(),
                "notes": [*notes, *results.remarks(experiment)],
                "labels": list({i: y for trial in tested for i, y in trial.items()}.values()),
            }


class Costs:
    """Seconds of what methods read of the tested architectures, from the stores' own measurements.

    A query at a snapshot is training up to it, with the validation where a method reads its curve.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._trace = _trace_seconds(experiment)
        self._columns = mean_seconds(experiment)

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

    def to_each_snapshot(self) -> dict[str, list[float | None]]:
        """Return by snapshot what a query of the trace up to it takes: training, with validation, and nominally."""
        training, validation = self._trace["training"], self._trace["validation"]
        return {
            "seconds of training": _or_none(training),
            "seconds with validation": _or_none(training + validation),
            "nominal seconds": [*self._clock()],
        }

    def _clock(self) -> list[float]:
        return [NOMINAL_SECONDS * step / 100 for step in self._experiment.settings(RecordingConfig).steps[1:]]


def _trace_seconds(experiment: Experiment) -> dict[str, Floats]:
    """Return by activity the mean seconds of a network up to each snapshot.

    What is trained up to the initial snapshot counts; its validation does not, as no method reads it.
    """
    path = experiment.layout.dynamics
    with reading(path):
        mean = open_dynamics(path)["seconds"].load().mean("architecture")
        seconds = {str(name): mean.sel(activity=name).values.astype(np.float64) for name in schema.ACTIVITIES}
    seconds["validation"][0] = 0.0
    return {name: values.cumsum()[1:] for name, values in seconds.items()}


def _or_none(values: Floats) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def _is_of(result: Result, name: str, size: str) -> bool:
    return result.method == name and result.size in ("", size)


def _taus(
    experiment: Experiment,
    found: Mapping[int, list[Result]],
    labels: Sequence[Floats],
    name: str,
    size: str,
) -> Floats:
    """Return (2, trials, snapshots): τ on all tested architectures, and on their upper half by accuracy (R20)."""
    taus = np.full((2, len(found), experiment.settings(RecordingConfig).snapshots), np.nan)
    for trial, everything in found.items():
        upper = upper_half(labels[trial])
        for result in (each for each in everything if _is_of(each, name, size)):
            for snapshot, scores in zip(result.snapshots, result.scores, strict=True):
                where = slice(None) if snapshot == BEFORE_TRAINING else snapshot - 1
                taus[0, trial, where] = kendall(scores, labels[trial])
                taus[1, trial, where] = kendall(scores[upper], labels[trial][upper])
    return taus


def _labels(experiment: Experiment, trial: int) -> dict[int, float]:
    """Return the label of every architecture tested, by index in the plan."""
    split = experiment.split(target_trial(experiment, trial))
    return {i: split.labels[i] for i in split.test}


def _plus_minus(values: Sequence[float | None]) -> str:
    """Empty where a trial has no τ, as a mean over the others would be of another sample."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return MISSING
    return f"{np.mean(known):.3f}" + (f" ± {np.std(known, ddof=1):.3f}" if len(known) > 1 else "")


def _costs(trained: int, costs: Costs, mine: Sequence[Result], method: Method) -> dict[str, float | None]:
    """Return labels, seconds of a fit and of a query, and both by the paper's clock; None where nothing was scored."""
    fits = np.array([second for result in mine for second in result.fit_seconds])
    queries = np.array([second for result in mine for second in result.query_seconds])
    if np.isnan(fits).all():
        return dict.fromkeys(HEADINGS)
    labels = trained if method.learned else 0
    query = float(np.nanmean(queries)) + costs.measured(method)
    return {
        "labels": labels,
        "fit_seconds": float(np.nanmean(fits)),
        "query_seconds": None if np.isnan(query) else query,
        "nominal_label_seconds": labels * NOMINAL_LABEL_SECONDS,
        "nominal_query_seconds": costs.nominal(method),
    }


def _cost(row: dict[str, Any], name: str) -> str:
    value = row[name]
    return str(value) if name == "labels" and value is not None else _seconds(value)


def _seconds(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2g}"
