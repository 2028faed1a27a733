"""The stages, by name, in the order in which `--stage all` walks them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Final

from stages.loading import load_object
from stages.settings import ConfigError

if TYPE_CHECKING:
    from stages.stage import Stage

REFERENCES: Final[Mapping[str, str]] = {
    "collect": "stages.collect.stage:CollectStage",
    "zero-cost": "stages.zero_cost.stage:ZeroCostStage",
    "labels": "stages.labels.stage:LabelsStage",
    "split": "stages.splits.stage:SplitStage",
    "cae": "stages.nap2.cae.stage:CaeStage",
    "embed": "stages.nap2.embed.stage:EmbedStage",
    "bigru": "stages.nap2.bigru.stage:BigruStage",
    "baselines": "stages.baselines.stage:BaselinesStage",
    "evaluate": "stages.evaluation.stage:EvaluateStage",
}
"""Where each class is; a further stage is a folder and a line here (docs/extending.md)."""


class Stages(Mapping[str, "Stage"]):
    """The stages by name; each is imported when it is asked for, and the help knows all names at once."""

    def __getitem__(self, name: str) -> Stage:
        """Return a stage, the same object each time."""
        return _stage(name)

    def __iter__(self) -> Iterator[str]:
        """Yield the names in order."""
        return iter(REFERENCES)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(REFERENCES)


@cache
def _stage(name: str) -> Stage:
    stage: Stage = load_object(REFERENCES[name])()
    return stage


STAGES: Final = Stages()


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
