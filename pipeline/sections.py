"""The sections of `experiment.toml`, each the settings of one component, in the order in which they are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pipeline.registry import STAGES
from stages.baselines.config import BaselinesConfig
from stages.datasets.config import DataConfig
from stages.labels.config import LabelsConfig
from stages.nap2.feature_maps.config import InputsConfig
from stages.nap2.models.config import BigruConfig, CaeConfig
from stages.recording.config import RecordingConfig
from stages.scoring.config import EvaluationConfig
from stages.search_spaces.config import ArchitecturesConfig
from stages.settings import ConfigError
from stages.splits.config import SplitsConfig
from stages.stage import Stage
from stages.training.config import TrainingConfig
from stages.zero_cost.config import ZeroCostConfig

COLLECTION: Final[tuple[Any, ...]] = (
    ArchitecturesConfig,
    DataConfig,
    TrainingConfig,
    RecordingConfig,
    LabelsConfig,
)
"""Sections that decide the experiment's identity; the others decide that of the stages that read its store."""
READING: Final[tuple[Any, ...]] = (
    ZeroCostConfig,
    SplitsConfig,
    InputsConfig,
    CaeConfig,
    BigruConfig,
    BaselinesConfig,
    EvaluationConfig,
)
"""The others, but for those that a stage brings along (`Stage.config`)."""
SLURM: Final = "slurm"
"""Section of sbatch's options, which `slurm.resources` checks; it decides no result."""


def sections(stages: Iterable[Stage]) -> dict[str, Any]:
    """Return the class of each section, by its name: those above, and those that stages bring.

    Raises:
        ConfigError: Two have one name.
    """
    found: dict[str, Any] = {kind.SECTION: kind for kind in (*COLLECTION, *READING)}
    for stage in stages:
        kind = stage.config
        if kind is not None:
            if {SLURM: None, **found}.get(kind.SECTION, kind) is not kind:
                raise ConfigError(
                    f"stage {stage.name} brings a section [{kind.SECTION}], and there is another; rename its SECTION"
                )
            found[kind.SECTION] = kind
    return found


SECTIONS: Final[Mapping[str, Any]] = sections(STAGES.values())
"""Every section's class, by name."""
