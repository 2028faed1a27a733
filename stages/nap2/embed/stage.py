"""The `embed` stage: what each pair of encoders makes of every collected architecture and snapshot (R14)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.experiment import Experiment
from stages.nap2.feature_maps.config import InputsConfig
from stages.nap2.models import plan
from stages.nap2.models.estimate import seconds_of_maps
from stages.settings import identity_settings
from stages.stage import Estimate, Execution, Input, Outcome, Stage
from storage_schema import schema, write


class EmbedStage(Stage):
    """Embeddings, 128 values a kind, in one store for each pair of encoders."""

    name = "embed"

    def num_tasks(self, experiment: Experiment) -> int:
        """One index a pair of encoders."""
        return len(plan.encoders(experiment.settings))

    def key(self, experiment: Experiment, index: int) -> str:
        """Name variant, trial and train size, as in `maps/0/700`."""
        return str(plan.encoders(experiment.settings)[index])

    def describe(self, experiment: Experiment, index: int) -> str:
        """Name variant, trial and train size."""
        return self.key(experiment, index)

    def estimate(self, experiment: Experiment, indices: Sequence[int]) -> Estimate:
        """Return what encoding every map takes."""
        return Estimate(seconds=seconds_of_maps(experiment) * len(indices))

    def settings(self, experiment: Experiment, index: int) -> Mapping[str, Any]:
        """Return the model's name: everything else follows from the encoders."""
        return {
            "model": self.describe(experiment, index),
            **identity_settings(experiment.settings(InputsConfig)),
        }

    def inputs(self, experiment: Experiment, index: int) -> Sequence[Input]:
        """Both encoders."""
        key = plan.encoders(experiment.settings)[index]
        return [plan.trained(experiment.settings, key, kind) for kind in schema.KINDS]

    def files(self, experiment: Experiment, index: int) -> dict[str, Path]:
        """The store."""
        return {"embeddings": experiment.layout.embeddings(self.describe(experiment, index))}

    def run(self, experiment: Experiment, index: int, execution: Execution) -> Outcome:
        """Embed everything that is collected."""
        from stages.nap2.embed.embed import embed_all

        key = plan.encoders(experiment.settings)[index]
        result, provenance = embed_all(experiment, key, execution)
        digests = write.digests(self.files(experiment, index))
        return Outcome(digests=digests, result=result, provenance=provenance)
