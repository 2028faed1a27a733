"""Declaring and checking settings: frozen dataclasses whose fields carry help, range and identity."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable
from typing import Any, TypeVar, get_type_hints

from storage_schema.errors import UserError

Section = TypeVar("Section")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like another, if one is."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)), None)


class ConfigError(UserError, ValueError):
    """A setting that is unknown, of the wrong type or out of range."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings of an experiment, asked for by the class of a section: `settings(TrainingConfig).epochs`.

    Attributes:
        sections: One instance of each class.
    """

    sections: tuple[Any, ...] = ()

    def __call__(self, kind: type[Section]) -> Section:
        """Return the section of a class; where nothing was said of it, its defaults."""
        found = next((each for each in self.sections if isinstance(each, kind)), None)
        return kind() if found is None else found

    def having(self, section: Any) -> Settings:
        """Return the same settings with another instance of one section."""
        there = any(isinstance(each, type(section)) for each in self.sections)
        kept = tuple(section if isinstance(each, type(section)) else each for each in self.sections)
        return Settings(kept if there else (*kept, section))


def setting(
    default: Any,
    help: str,
    *,
    ge: float | None = None,
    le: float | None = None,
    choices: tuple[Any, ...] | None = None,
    identity: bool = True,
    path: bool = False,
    late: bool = False,
    formerly: tuple[str, ...] = (),
) -> Any:
    """Declare one setting of a configuration dataclass.

    Args:
        default: The value when nothing is said.
        help: One line, written as the comment in `experiment.toml`.
        ge: Smallest value allowed.
        le: Largest value allowed.
        choices: The values allowed.
        identity: Whether the setting decides results (paths do not).
        path: It names a file or folder; the command line makes it absolute, as tasks run elsewhere.
        late: There were experiments before it. They are what its default says, so that enters no identity.
        formerly: The names it had, the first one first: it is read under each of them (docs/compatibility.md).
    """
    limits = {"help": help, "ge": ge, "le": le, "choices": choices, "identity": identity, "path": path}
    return dataclasses.field(default=default, metadata=limits | {"late": late, "formerly": formerly})


def check(config: Any) -> None:
    """Check type, range and choices of every setting of a dataclass instance.

    Raises:
        ConfigError: The first setting that does not hold, with its value and what is allowed.
    """
    types = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        if field.metadata:
            _check_type(config, field.name, types[field.name])
            _check_range(config, field)


def identity_settings(config: Any) -> dict[str, Any]:
    """Return the settings of a section that decide results, by the first name that each had, `section.key`.

    What came late is left out where it is the default: so it was for what was made before.
    """
    return {
        first_key(type(config), field): getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.metadata.get("identity")
        and not (field.metadata["late"] and getattr(config, field.name) == field.default)
    }


def first_key(section: Any, field: dataclasses.Field[Any]) -> str:
    """Return the first name of a setting, `section.key`: identities know it by no other, so a rename changes none."""
    return f"{first_name(section.SECTION, former_names(section))}.{first_name(field.name, field.metadata['formerly'])}"


def former_names(section: Any) -> tuple[str, ...]:
    """Return the names that a section had, the first one first: its class variable `FORMERLY`."""
    names: tuple[str, ...] = getattr(section, "FORMERLY", ())
    return names


def first_name(name: str, formerly: tuple[str, ...]) -> str:
    """Return the first of all names of one thing."""
    return formerly[0] if formerly else name


def _check_type(config: Any, name: str, expected: type) -> None:
    value = getattr(config, name)
    if expected is float and type(value) is int:
        try:
            object.__setattr__(config, name, float(value))
        except OverflowError:
            raise ConfigError(f"{_section(config)}.{name} = {value} is too large") from None
    elif type(value) is not expected:
        raise ConfigError(f"{_section(config)}.{name} = {value!r} is not of type {expected.__name__}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{_section(config)}.{name} = {value!r} is not a finite number")


def _check_range(config: Any, field: dataclasses.Field[Any]) -> None:
    value, meta = getattr(config, field.name), field.metadata
    where = f"{_section(config)}.{field.name} = {value!r}"
    if meta["choices"] is not None and value not in meta["choices"]:
        raise ConfigError(f"{where} is not one of {', '.join(map(repr, meta['choices']))}")
    if meta["ge"] is not None and value < meta["ge"]:
        raise ConfigError(f"{where} is below the smallest value allowed, {meta['ge']}")
    if meta["le"] is not None and value > meta["le"]:
        raise ConfigError(f"{where} is above the largest value allowed, {meta['le']}")


def _section(config: Any) -> str:
    return str(getattr(config, "SECTION", type(config).__name__))
