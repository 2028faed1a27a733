"""Reading and writing `experiment.toml`: presets, `--set`, unknown keys, and the comment of every setting."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from pipeline.presets import FOLDER, preset_names
from pipeline.sections import COLLECTION, SECTIONS, SLURM
from stages.settings import ConfigError, Settings, first_key, former_names, identity_settings, nearest
from stages.training import config as training
from storage_schema import documents, schema

Tree = dict[str, dict[str, Any]]
VERSIONS = ("schema_version", "numerics_version")
"""What an identity holds besides the settings."""


def preset(name: str) -> Tree:
    """Return a preset's settings.

    Raises:
        ConfigError: There is no such preset.
    """
    if name not in preset_names():
        raise ConfigError(f"unknown preset {name!r}{_nearest(name, preset_names())}")
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def read(path: Path) -> Settings:
    """Read `experiment.toml`.

    Raises:
        ConfigError: It is not TOML, or holds an unknown key or a value that is not allowed.
    """
    return resolve(read_tree(path))


def read_tree(path: Path) -> Tree:
    """Read sections as they stand.

    Raises:
        ConfigError: It is not TOML.
    """
    try:
        return tomllib.loads(documents.read_bytes(path).decode())
    except ValueError as error:  # also of bytes that are not UTF-8, and numbers of thousands of digits
        raise ConfigError(f"{path} is not valid TOML: {error}; correct it") from error
    except RecursionError:
        raise ConfigError(f"{path} is not valid TOML: it is nested too deep; correct it") from None


def resolve(tree: Mapping[str, Any]) -> Settings:
    """Turn sections of settings into a checked configuration; what is not said is the default.

    Raises:
        ConfigError: An unknown section or key (the nearest one is named), one under two of its names, or a value that
            is not allowed.
    """
    tree = _named_as_today(tree)
    for section in tree:
        if section not in (*SECTIONS, SLURM):
            raise ConfigError(f"unknown section [{section}]{_nearest(section, (*SECTIONS, SLURM))}")
        if not isinstance(tree[section], dict):
            raise ConfigError(f"{section} = {tree[section]!r} is not a section; write [{section}]")
    parts = []
    for section, kind in SECTIONS.items():
        known = [field.name for field in dataclasses.fields(kind)]
        for key in tree.get(section, {}):
            if key not in known:
                raise ConfigError(f"unknown key {section}.{key}{_nearest(f'{section}.{key}', all_keys())}")
        parts.append(kind(**tree.get(section, {})))
    return Settings(tuple(parts))


def with_settings(tree: Tree, settings: Iterable[str]) -> Tree:
    """Apply `section.key=value` settings to a tree.

    Raises:
        ConfigError: A setting without `=`, of an unknown key, or of one under two of its names.
    """
    changed = {section: dict(values) for section, values in _named_as_today(tree).items()}
    told: dict[str, str] = {}
    for text in settings:
        given, equals, value = text.partition("=")
        name = _name_of_today(given.strip())
        section, _, key = name.partition(".")
        if not equals:
            raise ConfigError(f"--set {text} has no '='; write --set section.key=value")
        if not text.isprintable():
            raise ConfigError(f"--set {text!r} holds characters that cannot be printed; take them out")
        if section == SLURM and key:
            changed.setdefault(SLURM, {})[key] = _parse(value.strip(), object)
            continue
        if name not in all_keys():
            raise ConfigError(f"unknown key {name}{_nearest(name, all_keys())}")
        if told.setdefault(name, given.strip()) != given.strip():
            raise ConfigError(
                f"--set {told[name]} and --set {given.strip()} are one setting; keep --set {name}"
            )
        parsed = _parse(value.strip(), get_type_hints(SECTIONS[section])[key])
        changed.setdefault(section, {})[key] = _absolute(section, key, parsed)
    return changed


def _absolute(section: str, key: str, value: Any) -> Any:
    """Tasks run in other directories than the command that sets a path."""
    field = next(field for field in dataclasses.fields(SECTIONS[section]) if field.name == key)
    if not field.metadata["path"] or not isinstance(value, str):
        return value
    return ",".join(
        str(Path(part.strip()).expanduser().absolute()) for part in value.split(",") if part.strip()
    )


def all_keys() -> list[str]:
    """Return every key as `section.key`."""
    return [f"{section}.{f.name}" for section, kind in SECTIONS.items() for f in dataclasses.fields(kind)]


def _named_as_today(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree in which former names of sections and keys are today's."""
    sections = {old: new for new, kind in SECTIONS.items() for old in former_names(kind)}
    found = _renamed(tree, sections, "[{}]")
    for section, kind in SECTIONS.items():
        if isinstance(found.get(section), dict):
            found[section] = _renamed(found[section], _former_keys(kind), f"{section}.{{}}")
    return found


def _renamed(values: Mapping[str, Any], names: Mapping[str, str], shown: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        today = names.get(name, name)
        if today in found:
            both = " and ".join(shown.format(each) for each in values if names.get(each, each) == today)
            raise ConfigError(f"{both} are one and the same; keep {shown.format(today)} alone")
        found[today] = value
    return found


def _name_of_today(name: str) -> str:
    """Return today's name of a setting, `section.key`; one that is unknown as it is."""
    section, dot, key = name.partition(".")
    section = next((new for new, kind in SECTIONS.items() if section in former_names(kind)), section)
    return f"{section}{dot}{_former_keys(SECTIONS[section]).get(key, key) if section in SECTIONS else key}"


def _former_keys(kind: Any) -> dict[str, str]:
    return {old: field.name for field in dataclasses.fields(kind) for old in field.metadata["formerly"]}


def versions() -> dict[str, int]:
    """Return the versions of this code, by `VERSIONS`."""
    return {"schema_version": schema.VERSION, "numerics_version": training.NUMERICS_VERSION}


def scientific(settings: Settings, of: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Return every setting that decides what is collected, by `section.key`, with schema and numerics versions.

    Args:
        settings: All of them.
        of: The versions; None: this code's.
    """
    values: dict[str, Any] = {**(of or versions())}
    for kind in COLLECTION:
        values |= identity_settings(settings(kind))
    return values


def defaults() -> dict[str, Any]:
    """Return the default of every setting that decides what is collected, by the name that it has in identities."""
    return {
        first_key(kind, field): field.default for kind in COLLECTION for field in dataclasses.fields(kind)
    }


def to_tree(settings: Settings) -> Tree:
    """Return every setting, by section and key."""
    return {section: dataclasses.asdict(settings(kind)) for section, kind in SECTIONS.items()}


def to_toml(settings: Settings, heading: str, slurm: Mapping[str, Any]) -> str:
    """Write every setting, each with its comment, below a first line; last, the options of sbatch."""
    fixed = ", ".join(kind.SECTION for kind in COLLECTION)
    lines = [
        heading,
        "# Everything here that is not marked 'path' decides results.",
        f"# The sections {fixed} are fixed once the experiment is made; the others may change,",
        "# and the stages they belong to are then run again.",
    ]
    for section, kind in SECTIONS.items():
        part = settings(kind)
        lines += ["", f"[{section}]"]
        for field in dataclasses.fields(part):
            mark = "" if field.metadata["identity"] else " (path or place: not part of the identity)"
            lines.append(f"# {field.metadata['help']}{mark}")
            lines.append(f"{field.name} = {_literal(getattr(part, field.name))}")
    if slurm:
        lines += ["", f"[{SLURM}]", "# Options of sbatch, not part of the identity."]
        lines += [f"{name} = {_literal(value)}" for name, value in slurm.items()]
    return "\n".join(lines) + "\n"


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else repr(value)


def _parse(text: str, kind: type) -> Any:
    """A value in TOML's notation or, for strings, as it stands; `check` says what is wrong with it."""
    if kind is str:
        return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # not TOML, or a number of thousands of digits
        return text


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = nearest(name, names)
    return f"; did you mean {near}?" if near else f"; known: {', '.join(names)}"
