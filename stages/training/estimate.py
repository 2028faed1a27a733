"""What training takes, roughly: from the operations of the networks, before anything was measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from stages.experiment import Experiment
from stages.search_spaces.chosen import space_of, task_of
from stages.search_spaces.space import NetworkSummary, summary

ROUGH_FLOPS_PER_SECOND = 8e9
"""Of one 2020s CPU core in small convolutions."""
SAMPLE = 32
"""So many networks stand for all."""


def training_seconds(experiment: Experiment, indices: Sequence[int], images: int) -> float:
    """Return the seconds in which networks are each trained on so many images, on one core."""
    if not indices:
        return 0.0
    flops = statistics.mean(each.flops for each in networks(experiment, indices[:SAMPLE]))
    return 3 * images * flops / ROUGH_FLOPS_PER_SECOND * len(indices)


def networks(experiment: Experiment, indices: Sequence[int]) -> list[NetworkSummary]:
    """Return layers and costs of the networks of some indices."""
    space, task = space_of(experiment), task_of(experiment.settings)
    return [summary(space, experiment.architectures[index], task) for index in indices]
