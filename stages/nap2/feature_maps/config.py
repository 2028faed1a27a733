"""Settings of what the models are given, section `[inputs]` of `experiment.toml`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stages.nap2.feature_maps.variants import VARIANTS, Variant, find
from stages.settings import ConfigError, check, setting
from storage_schema.schema import LAYER_CAP


@dataclass(frozen=True, kw_only=True)
class InputsConfig:
    """Which views of the maps models are trained on, one model each (R2, R24)."""

    SECTION: ClassVar[str] = "inputs"

    variants: str = setting("maps", f"one or more of {' '.join(VARIANTS)}", identity=False)
    layer_cap: int = setting(LAYER_CAP, "layers of a map: deeper networks are cut (paper: 65)", ge=1, le=1000)

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
            ConfigError: A variant is unknown or named twice, or there is none.
        """
        check(self)
        for name in self.variants.split():
            if find(name) is None:
                raise ConfigError(f"inputs.variants: {name!r} is not one of {', '.join(VARIANTS)}")
        if not self.chosen or len(set(self.chosen)) < len(self.chosen):
            raise ConfigError(f"inputs.variants = {self.variants!r}: name one or more, each once")

    @property
    def chosen(self) -> tuple[Variant, ...]:
        """The variants, in the order given."""
        return tuple(filter(None, map(find, self.variants.split())))

    @property
    def encoded(self) -> tuple[Variant, ...]:
        """Those that need encoders of their own, each once."""
        return tuple(dict.fromkeys(variant.encoded_by for variant in self.chosen))
