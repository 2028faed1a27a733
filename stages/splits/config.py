"""Settings of the splits, section `[splits]` of `experiment.toml`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Final

from stages.settings import ConfigError, check, setting

ALL: Final = "all"
"""The train size that takes every training architecture there is."""

MOST_MODELS: Final = 1000
"""Of trials and train sizes together; every status looks at each of them."""


@dataclass(frozen=True, kw_only=True)
class SplitsConfig:
    """How many architectures train, validate and test, and what differs between trials (R17, R19)."""

    SECTION: ClassVar[str] = "splits"

    test: str = setting(
        "fixed",
        "fixed: one test set (the paper's letter); resampled: one a trial; folds: each network tested once",
        choices=("fixed", "resampled", "folds"),
    )
    test_number: int = setting(200, "test architectures; not for folds (paper: 200)", ge=2, le=100_000)
    validation_number: int = setting(
        100, "validation architectures; folds take a tenth (paper: 100)", ge=2, le=100_000
    )
    folds: int = setting(5, "number of folds, one a trial; for folds only", ge=2, le=1000)
    trials: int = setting(10, "number of trials; not for folds (paper: 10)", ge=1, le=1000, identity=False)
    sizes: str = setting(
        "50 100 200 300 400 500 600 700", "train sizes, nested within a trial; `all` is what there is"
    )
    seed: int = setting(42, "seed of the fixed test set and the folds; trial i adds i", ge=0, le=2**32 - 1)
    keep_twins_together: bool = setting(
        False, "isomorphic twins go whole into test, validation or train; these may then be a little smaller"
    )
    allow_partial: bool = setting(
        False, "use the architectures that are done, while others are not", identity=False
    )

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
            ConfigError: A train size is no number and not `all`, is named twice, or there is none.
        """
        check(self)
        for size in self.train_sizes:
            if size != ALL and not re.fullmatch("[1-9][0-9]{0,8}", size):
                raise ConfigError(
                    f"splits.sizes: {size!r} is no train size; "
                    f"write positive numbers or {ALL}, separated by spaces, as in '50 100 {ALL}'"
                )
        models = self.num_trials * len(self.train_sizes)
        if models > MOST_MODELS:
            raise ConfigError(
                f"{self.num_trials} trials of {len(self.train_sizes)} splits.sizes are {models} models; "
                f"use at most {MOST_MODELS}"
            )
        if not self.train_sizes or len(set(self.train_sizes)) < len(self.train_sizes):
            raise ConfigError(f"splits.sizes = {self.sizes!r}: name one or more, each once")

    @property
    def train_sizes(self) -> tuple[str, ...]:
        """Names of the train sizes, in the order given."""
        return tuple(self.sizes.split())

    @property
    def num_trials(self) -> int:
        """Number of trials; with folds there is one a fold."""
        return self.folds if self.test == "folds" else self.trials
