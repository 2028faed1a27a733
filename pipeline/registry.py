"""The stages, by name, in the order in which `--stage all` walks them."""

from __future__ import annotations

from stages.baselines.stage import BaselinesStage
from stages.bigru.stage import BigruStage
from stages.cae.stage import CaeStage
from stages.collect.stage import CollectStage
from stages.embed.stage import EmbedStage
from stages.evaluation.stage import EvaluateStage
from stages.labels.stage import LabelsStage
from stages.settings import ConfigError
from stages.splits.stage import SplitStage
from stages.stage import Stage
from stages.zero_cost.stage import ZeroCostStage

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        CollectStage(),
        ZeroCostStage(),
        LabelsStage(),
        SplitStage(),
        CaeStage(),
        EmbedStage(),
        BigruStage(),
        BaselinesStage(),
        EvaluateStage(),
    )
}


def chosen(name: str) -> list[Stage]:
    """Return the stages that a `--stage` value names.

    Raises:
        ConfigError: There is no such stage.
    """
    if name == "all":
        return list(STAGES.values())
    if name not in STAGES:
        raise ConfigError(f"unknown stage {name!r}; use all or one of {', '.join(STAGES)}")
    return [STAGES[name]]
