"""The `baselines` stage: every method's scores on every trial's test architectures, one fit an index (R21, R26)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.baselines import tasks
from stages.baselines.config import BaselinesConfig
from stages.baselines.registry import METHODS
from stages.experiment import Experiment
from stages.recording.config import RecordingConfig
from stages.scoring.results import digest
from stages.stage import Execution, Input, Outcome, Stage
from storage_schema import markers


class BaselinesStage(Stage):
    """Comparison methods, fitted anew for each trial, train size and snapshot."""

    name = "baselines"
    required = False  # a method that fails is a row that says so

    def num_tasks(self, experiment: Experiment) -> int:
        """One index a fit; a method that learns nothing has one a trial."""
        return tasks.count(experiment)

    def key(self, experiment: Experiment, index: int) -> str:
        """Name method, source, trial, train size and snapshot."""
        return str(tasks.find(experiment, index)[1])

    def describe(self, experiment: Experiment, index: int) -> str:
        """Name method, source, trial, train size and snapshot."""
        return self.key(experiment, index)

    def facts(self, experiment: Experiment) -> Sequence[Mapping[str, Any]]:
        """Return what a table says of each index, and what its scores are to be read with, by mini-batches."""
        steps = experiment.settings(RecordingConfig).steps[1:]
        remarks = {
            name: {step: text for step in steps if (text := METHODS[name].remark(step))}
            for name in experiment.settings(BaselinesConfig).chosen
        }
        return [
            {
                "key": str(task),
                **vars(task),
                "kind": METHODS[task.method].kind,
                "remarks": remarks[task.method],
            }
            for _, of_source in tasks.blocks(experiment)
            for task in of_source
        ]

    def kind(self, experiment: Experiment, index: int) -> str:
        """Return the method."""
        return tasks.find(experiment, index)[1].method

    def settings(self, experiment: Experiment, index: int) -> Mapping[str, Any]:
        """Return what is fitted to what, what is read besides the splits, and the version of an optional package."""
        return tasks.settings(experiment, *tasks.find(experiment, index))

    def settings_before_keys(self, experiment: Experiment, index: int) -> Mapping[str, Any]:
        """Return the same as before keys."""
        return tasks.settings(experiment, *tasks.find(experiment, index), before_keys=True)

    def inputs(self, experiment: Experiment, index: int) -> Sequence[Input]:
        """The split of the tested architectures."""
        return (tasks.split_tested(experiment, tasks.find(experiment, index)[1]),)

    def files(self, experiment: Experiment, index: int) -> dict[str, Path]:
        """Return nothing: the scores are in the marker, and `evaluate` gathers them."""
        return {}

    def run(self, experiment: Experiment, index: int, execution: Execution) -> Outcome:
        """Fit one method and score the test architectures."""
        from stages.baselines.fit import fit_and_score

        result, provenance = fit_and_score(experiment, *tasks.find(experiment, index), execution)
        return Outcome(digests={"scores": digest(result)}, result=result, provenance=provenance)

    def digests(self, experiment: Experiment, marker: markers.Marker) -> dict[str, str]:
        """Return the digest of the scores in the marker."""
        return {"scores": digest(marker.result)} if "scores" in marker.result else {}

    def report(self, experiment: Experiment) -> list[str]:
        """Return the table of τ and seconds of each source."""
        from stages.baselines.report import table

        return table(experiment)
