"""Settings of the baselines, section `[baselines]` of `experiment.toml`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stages.baselines.method import Method
from stages.baselines.registry import DEFAULT, LC_PFN, METHODS, find, resolve
from stages.settings import ConfigError, check, setting


@dataclass(frozen=True, kw_only=True)
class BaselinesConfig:
    """Which methods are compared with (paper 4.2; R21, R26)."""

    SECTION: ClassVar[str] = "baselines"

    methods: str = setting(
        ", ".join(DEFAULT),
        "names from `pipeline baselines list`, in the order of the tables",
        identity=False,
    )
    epoch_images: int = setting(0, "training images of an epoch; 0: the whole data set's", ge=0, le=10**9)
    lc_pfn_weights: str = setting("", "file of LC-PFN's weights", identity=False, path=True)
    trust_lc_pfn_pickle: bool = setting(
        False, "read weights that are a pickle, which can run any code", identity=False
    )
    threads: int = setting(1, "CPU threads of a fit; sums depend on it", ge=1, le=1024)

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
            ConfigError: A method is unknown or named twice, or a reference that every table carries is missing.
        """
        check(self)
        names = self.chosen
        if len(set(names)) < len(names):
            raise ConfigError(f"baselines.methods = {self.methods!r} names one twice")
        missing = [
            name for name, method in METHODS.items() if method.kind == "reference" and name not in names
        ]
        if missing:
            raise ConfigError(
                f"baselines.methods lacks {', '.join(missing)}, which every table carries; add it"
            )
        if LC_PFN in names and not self.lc_pfn_weights:
            raise ConfigError(f"{LC_PFN} needs its weights: --set baselines.lc_pfn_weights=FILE")

    @property
    def chosen(self) -> tuple[str, ...]:
        """The methods' names, in the order given."""
        return tuple(find(name) for name in self.methods.split(","))

    @property
    def weights(self) -> Path | None:
        """Where LC-PFN's weights are."""
        return Path(self.lc_pfn_weights) if self.lc_pfn_weights else None

    def method(self, name: str) -> Method:
        """Return a method, ready to be fitted."""
        return resolve(name, self.weights, self.trust_lc_pfn_pickle)
