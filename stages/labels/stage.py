"""The `labels` stage: one accuracy an architecture, whatever its source; torch only where it trains (R13)."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.datasets.config import DataConfig
from stages.experiment import Experiment
from stages.labels.config import LabelsConfig
from stages.labels.errors import LabelError
from stages.stage import Estimate, Execution, Outcome, Shared, Stage
from stages.training.config import check_numerics
from stages.training.estimate import training_seconds
from storage_schema import durable, markers


class LabelsStage(Stage):
    """Labels of every architecture of the plan, gathered into `labels.csv`."""

    name = "labels"

    def num_tasks(self, experiment: Experiment) -> int:
        """One index an architecture."""
        return len(experiment.architectures)

    def estimate(self, experiment: Experiment, indices: Sequence[int]) -> Estimate:
        """Return what the training takes, if labels come from training."""
        settings = experiment.settings
        if settings(LabelsConfig).source != "training":
            return Estimate(seconds=0)
        images = settings(LabelsConfig).epochs * settings(DataConfig).dataset.training_images
        return Estimate(seconds=training_seconds(experiment, indices, images))

    def admit(self, experiment: Experiment) -> None:
        """Refuse to train under other numerics than the experiment's; a label of a table is the same in all.

        Raises:
            ConfigError: This code's are others.
        """
        if experiment.settings(LabelsConfig).source == "training":
            check_numerics(experiment.numerics_version)

    def run(self, experiment: Experiment, index: int, execution: Execution) -> Outcome:
        """Take the planned label, or train for it.

        Raises:
            LabelError: The plan has no label though labels are not trained here.
        """
        source = experiment.settings(LabelsConfig).source
        provenance: dict[str, Any] = {"source": source}
        if source == "training":
            from stages.labels.train import train_to_the_end

            label, trained_on = train_to_the_end(experiment, index, execution, self.name)
            provenance |= trained_on
        else:
            planned = experiment.planned_labels[index]
            if planned is None:
                raise LabelError(
                    f"{experiment.layout.plan} has no label for index {index}; make the experiment again"
                )
            label = planned
        result = {"label": label, "source": source}
        return Outcome(digests={"label": label_digest(label)}, result=result, provenance=provenance)

    def finalise(self, experiment: Experiment) -> None:
        """Gather the labels of finished indices into `labels.csv`."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("index", "architecture", "label", "source"))
        for index in sorted(
            markers.done_indices(experiment.layout.markers(self.name), self.num_tasks(experiment))
        ):
            path = experiment.layout.marker(self.name, index)
            marker = markers.load(path)
            if marker is not None and marker.identity == experiment.identity:
                with markers.reading(path):
                    row = (index, experiment.architectures[index], repr(float(marker.result["label"])))
                # The source is part of the identity, so it is the same for every marker.
                writer.writerow((*row, experiment.settings(LabelsConfig).source))
        durable.write(experiment.layout.labels, text.getvalue().encode())

    def files(self, experiment: Experiment, index: int) -> dict[str, Path]:
        """Return nothing: a label is in its marker."""
        return {}

    def shared(self, experiment: Experiment) -> Shared:
        """The table of all labels."""
        return Shared(files={"labels": experiment.layout.labels})

    def digests(self, experiment: Experiment, marker: markers.Marker) -> dict[str, str]:
        """Return the digest of the label in the marker."""
        return {"label": label_digest(marker.result["label"])} if "label" in marker.result else {}


def label_digest(label: float) -> str:
    """Return SHA-256 of a label as it is written."""
    return hashlib.sha256(repr(label).encode()).hexdigest()
