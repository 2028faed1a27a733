"""Where fitted methods come from: the experiment itself, or another whose models stay as they are (R18)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stages.settings import ConfigError
from stages.stage import Experiment, Input
from storage_schema import markers
from storage_schema.errors import UserError
from storage_schema.markers import Marker, MarkerError

IN_DOMAIN: Final = "in-domain"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where models come from.

    Attributes:
        name: Of its folder of results.
        experiment: The target itself for `in-domain`.
    """

    name: str
    experiment: Experiment

    @property
    def in_domain(self) -> bool:
        """Whether source and target are one experiment."""
        return self.name == IN_DOMAIN


def sources(experiment: Experiment) -> list[Source]:
    """Return the experiment itself and those of `evaluation.sources`.

    Raises:
        ConfigError: One is the experiment itself, or two have the same name.
    """
    config = experiment.config.evaluation
    found = [Source(name=IN_DOMAIN, experiment=experiment)] if config.in_domain else []
    for path in config.source_paths:
        other = Source(name=f"from-{path.name}", experiment=_open(experiment, path))
        if other.experiment.identity == experiment.identity or other.name in [each.name for each in found]:
            raise ConfigError(f"evaluation.sources: {path} is there twice or is the experiment itself")
        found.append(other)
    return found


def target_trial(experiment: Experiment, trial: int) -> int:
    """Return the target's split whose test architectures a source's trial scores."""
    return trial % experiment.config.splits.num_trials


def digests(source: Experiment, each: Input) -> dict[str, Any] | None:
    """Return what the marker of a source's index vouches for; None where there is none that can be read."""
    marker = marker_of(source, each)
    return None if marker is None else marker.digests


def marker_of(experiment: Experiment, each: Input) -> Marker | None:
    """Return the marker of an index; one that cannot be read proves nothing, and running or verifying it says so."""
    try:
        return markers.load(experiment.layout.marker(each.stage, each.index))
    except MarkerError:
        return None


def _open(experiment: Experiment, path: Path) -> Experiment:
    try:
        return experiment.open_other(path)
    except UserError as error:
        raise ConfigError(f"evaluation.sources: {error}; or take it out of the list") from error
