"""The search space of an experiment, as its settings choose it, and what its networks are built for."""

from __future__ import annotations

from stages.datasets.config import DataConfig
from stages.experiment import Experiment
from stages.search_spaces.config import ArchitecturesConfig
from stages.search_spaces.registry import check_code, open_space
from stages.search_spaces.space import ImageTask, SearchSpace, isomorphism_classes
from stages.settings import Settings


def space_of(experiment: Experiment) -> SearchSpace:
    """Return the search space; a user's own is imported here.

    Raises:
        SpaceError: It cannot be, or its code is not what the experiment was made with.
    """
    check_space(experiment)
    section = experiment.settings(ArchitecturesConfig)
    return open_space(section.space, section.channels, section.cells_per_stage)


def check_space(experiment: Experiment) -> None:
    """Compare the code of the search space, where it is a user's own, with what the experiment was made with.

    Raises:
        SpaceError: It differs, or is not found.
    """
    check_code(experiment.settings(ArchitecturesConfig).space, experiment.space_code)


def task_of(settings: Settings) -> ImageTask:
    """Return what the networks are built for."""
    data = settings(DataConfig)
    return ImageTask(classes=data.dataset.classes, image_size=data.size, channels=data.dataset.channels)


def classes_of(experiment: Experiment) -> tuple[str, ...]:
    """Return the isomorphism class of every index; those of two spaces are never the same (R19)."""
    return isomorphism_classes(space_of(experiment), experiment.architectures)
