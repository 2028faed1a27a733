"""The `split` stage: who trains, validates and tests in each trial, in the paper's three files (R19)."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from stages.experiment import Experiment
from stages.search_spaces.chosen import classes_of
from stages.settings import identity_settings
from stages.splits.config import SplitsConfig
from stages.splits.errors import SplitError
from stages.splits.split import count_twins, histogram, split
from stages.stage import Execution, Outcome, Shared, Stage
from storage_schema import documents, durable, markers, splits, write


class _Trial(TypedDict):
    trial: int
    train: dict[str, int]
    validation: int
    test: int
    test_with_twin_in_train: dict[str, int]


class _Report(TypedDict):
    trials: list[_Trial]
    histogram: list[list[float]]


class SplitStage(Stage):
    """Splits of the finished architectures."""

    name = "split"

    def num_tasks(self, experiment: Experiment) -> int:
        """One index a trial."""
        return experiment.settings(SplitsConfig).num_trials

    def describe(self, experiment: Experiment, index: int) -> str:
        """Name the trial."""
        return f"trial {index}"

    def settings(self, experiment: Experiment, index: int) -> Mapping[str, Any]:
        """Return the protocol, the trial, and which architectures there are with which labels."""
        sample = write.digest(experiment.layout.split_sample)
        return {
            **identity_settings(experiment.settings(SplitsConfig)),
            "trial": index,
            "architectures": sample,
        }

    def prepare(self, experiment: Experiment) -> None:
        """Write down which architectures are finished, and their labels.

        Raises:
            SplitError: Some are not finished and a partial store is not allowed, a label is not right, or
                there are too few.
        """
        labels = _labels(experiment)
        split(experiment.settings(SplitsConfig), 0, labels, classes_of(experiment))  # whether there is one
        content = json.dumps({str(i): labels[i] for i in sorted(labels)}).encode()
        path = experiment.layout.split_sample
        if not path.is_file() or path.read_bytes() != content:
            durable.write(path, content)

    def files(self, experiment: Experiment, index: int) -> dict[str, Path]:
        """The three files."""
        return splits.paths(experiment.layout.split(index))

    def shared(self, experiment: Experiment) -> Shared:
        """Which architectures are split, and the report."""
        layout = experiment.layout
        return Shared(files={"architectures": layout.split_sample, "report": layout.split_report})

    def digests(self, experiment: Experiment, marker: markers.Marker) -> dict[str, str]:
        """Return digests of the files; those of the train sizes follow from the file that is compared."""
        parts = {name: value for name, value in marker.digests.items() if " " in name}
        return super().digests(experiment, marker) | parts

    def run(self, experiment: Experiment, index: int, execution: Execution) -> Outcome:
        """Draw one trial's split."""
        labels = _sample(experiment)
        drawn = split(experiment.settings(SplitsConfig), index, labels, classes_of(experiment))
        folder = experiment.layout.split(index)
        files = splits.SplitFiles(
            trial=index,
            seed=drawn.seed,
            train=drawn.train,
            validation=drawn.validation,
            test=drawn.test,
            labels=labels,
        )
        with execution.guard():
            splits.write(folder, files)
        result = {
            "seed": drawn.seed,
            "train": {size: len(indices) for size, indices in drawn.train.items()},
            "validation": len(drawn.validation),
            "test": len(drawn.test),
            "test_with_twin_in_train": count_twins(drawn, classes_of(experiment)),
        }
        digests = write.digests(splits.paths(folder)) | splits.digests_by_size(files)
        return Outcome(digests=digests, result=result, provenance={})

    def finalise(self, experiment: Experiment) -> None:
        """Write the report: protocol, parts, twins and the sample's accuracy histogram."""
        config = experiment.settings(SplitsConfig)
        found = [markers.load(experiment.layout.marker(self.name, i)) for i in range(config.num_trials)]
        trials = [{"trial": marker.index, **marker.result} for marker in found if marker is not None]
        report = {
            "test": config.test,
            "keep_twins_together": config.keep_twins_together,
            "trials": trials,
            "histogram": histogram(_sample(experiment)),
        }
        durable.write_json(experiment.layout.split_report, report)

    def report(self, experiment: Experiment) -> list[str]:
        """Return sizes of the parts, twins, and the histogram."""
        path = experiment.layout.split_report
        try:
            report: _Report = documents.load(path, _Report)
            lines = [*map(_line, report["trials"]), "accuracy of the sample:", *_bars(report["histogram"])]
        except FileNotFoundError:
            return []
        except (ValueError, ArithmeticError) as error:
            raise SplitError(f"{path} is damaged ({error}); run --stage split again") from error
        return lines


def _line(trial: _Trial) -> str:
    train = " ".join(map(str, trial["train"].values()))
    twins = " ".join(map(str, trial["test_with_twin_in_train"].values()))
    return (
        f"trial {trial['trial']}: train {train}, validation {trial['validation']}, test {trial['test']}; "
        f"test architectures with an isomorphic twin in train: {twins}"
    )


def _bars(found: Sequence[Sequence[float]]) -> list[str]:
    filled = [i for i, (_, _, count) in enumerate(found) if count]
    shown = found[filled[0] : filled[-1] + 1] if filled else []
    most = max((count for _, _, count in shown), default=1)
    return [
        f"  {low:>4.0%} to {high:<4.0%} {int(count):>5} {'#' * round(40 * count / most)}"
        for low, high, count in shown
    ]


def _sample(experiment: Experiment) -> dict[int, float]:
    path = experiment.layout.split_sample
    try:
        content: dict[str, float] = documents.load(path, dict[str, float])
        return {int(index): label for index, label in content.items()}
    except FileNotFoundError as error:
        raise SplitError(f"{path} is not there; run --stage split from its beginning") from error
    except ValueError as error:
        raise SplitError(f"{path} is damaged ({error}); run --stage split from its beginning") from error


def _labels(experiment: Experiment) -> dict[int, float]:
    """Return the labels of finished architectures."""
    layout, everyone = experiment.layout, set(range(len(experiment.architectures)))
    for stage in ("collect", "labels"):
        missing = everyone - markers.done_indices(layout.markers(stage))
        if missing and not experiment.settings(SplitsConfig).allow_partial:
            raise SplitError(
                f"{len(missing)} of {len(everyone)} architectures are not finished ({_some(missing)}): "
                f"run --stage {stage} first, or go on without them with --allow-partial"
            )
    usable = markers.done_indices(layout.markers("collect")) & everyone
    if not layout.labels.is_file():
        raise SplitError(f"{layout.labels} is not there; run --stage labels first")
    try:
        with layout.labels.open(encoding="utf-8", newline="") as file:
            rows = {int(row["index"]): float(row["label"] or "nan") for row in csv.DictReader(file)}
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise SplitError(f"{layout.labels} is damaged ({error}); run --stage labels again") from error
    return {index: rows[index] for index in usable & set(rows)}


def _some(indices: set[int]) -> str:
    first = sorted(indices)[:10]
    return ", ".join(map(str, first)) + (f" and {len(indices) - 10} more" if len(indices) > 10 else "")
