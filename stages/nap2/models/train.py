"""Training one of the models to its end and keeping it, the same for autoencoders and predictors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from stages.experiment import Experiment
from stages.nap2.models import card, plan
from stages.nap2.models.plan import ModelKey
from stages.stage import Execution, Outcome
from storage_schema import write


class ModelTraining(Protocol):
    """A training that goes on where its checkpoint is (`stages.training.resumable`)."""

    def resume(self) -> None:
        """Go on where the checkpoint is."""

    def work(self) -> None:
        """Train to the end."""

    def weights(self) -> dict[str, Tensor]:
        """Return what is kept of the network."""

    def result(self) -> dict[str, Any]:
        """Return what the training came to."""

    def provenance(self) -> dict[str, Any]:
        """Return where and with what it was computed."""


def train_and_keep(
    training: ModelTraining,
    experiment: Experiment,
    key: ModelKey,
    execution: Execution,
    *,
    train: Sequence[int],
    seed: int,
    dtype: str,
    folder: Path,
    facts: Mapping[str, Any],
) -> Outcome:
    """Train a model and write it with its card.

    Args:
        training: Of the model.
        experiment: The experiment.
        key: Which model.
        execution: Guards what is written.
        train: Indices of the architectures it is trained on.
        seed: Of initial weights and order.
        dtype: Of its weights.
        folder: Where it goes.
        facts: What its card says besides what every card says.

    Raises:
        Stopped: Asked to stop; the state is saved.
    """
    training.resume()
    training.work()
    result = training.result() | {"architectures": len(train), "seed": seed}
    everything = plan.facts(experiment, key, train, execution.identity, dtype) | dict(facts)
    with execution.guard():
        card.save(folder, training.weights(), everything | {"result": plan.reproducible(result)})
    return Outcome(digests=write.digests(card.files(folder)), result=result, provenance=training.provenance())
