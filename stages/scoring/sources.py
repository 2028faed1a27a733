"""Where fitted methods come from: the experiment itself, or another whose models stay as they are (R18)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from stages.experiment import Experiment
from stages.scoring.config import EvaluationConfig
from stages.settings import ConfigError
from stages.splits.config import SplitsConfig
from stages.stage import Input
from storage_schema import markers
from storage_schema.errors import UserError
from storage_schema.layout import Layout

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
    config = experiment.settings(EvaluationConfig)
    found = [Source(name=IN_DOMAIN, experiment=experiment)] if config.in_domain else []
    for path in config.source_paths:
        other = Source(name=f"from-{path.name}", experiment=_open(experiment, path))
        if other.experiment.identity == experiment.identity or other.name in [each.name for each in found]:
            raise ConfigError(f"evaluation.sources: {path} is there twice or is the experiment itself")
        found.append(other)
    return found


def target_trial(experiment: Experiment, trial: int) -> int:
    """Return the target's split whose test architectures a source's trial scores."""
    return trial % experiment.settings(SplitsConfig).num_trials


def digests(source: Experiment, each: Input) -> dict[str, Any] | None:
    """Return what the marker of a source's index vouches for; None where there is none that can be read."""
    marker = markers.load_if_readable(each.marker(source.layout))
    return None if marker is None else each.read_of(marker.digests)


def _open(experiment: Experiment, path: Path) -> Experiment:
    """Open another experiment, once for all the indices that ask for it, as long as its files are the same."""
    try:
        layout = Layout(path)
        states = [file.stat() for file in (layout.config, layout.identity, layout.plan) if file.is_file()]
        stamp = tuple((state.st_ino, state.st_size, state.st_mtime_ns) for state in states)
        return _opened(experiment.open_other, path, stamp)
    except UserError as error:
        raise ConfigError(f"evaluation.sources: {error}; or take it out of the list") from error


@lru_cache(maxsize=8)
def _opened(
    load: Callable[[Path], Experiment], path: Path, _stamp: tuple[tuple[int, ...], ...]
) -> Experiment:
    return load(path)
