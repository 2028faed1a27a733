"""What an experiment was made as, `identity.json`: it stays so, whatever the code and its settings become."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Final, TypedDict

from pipeline import config
from stages.search_spaces import registry
from stages.search_spaces.config import ArchitecturesConfig
from stages.settings import Settings
from storage_schema import documents
from storage_schema.errors import UserError

NUMBER: Final = "architectures.number"
"""The one setting of collection that may grow: `pipeline.extend`."""


class Extension(TypedDict):
    """To how many architectures an experiment was extended, and the digest of the plan of so many."""

    number: int
    plan: str


class _Made(TypedDict):
    identity: str
    settings: dict[str, Any]
    plan: str
    data: str


class IdentityRecord(_Made, total=False):
    """What decides results (digests of plan and data, and the settings), and its hash.

    An extension changes none of it, as it changes no result: it is noted beside.
    """

    extended: list[Extension]


class ExperimentError(UserError, ValueError):
    """A directory that is not an experiment, or one of another identity."""


def check_settings(record: Mapping[str, Any], settings: Mapping[str, Any], where: str) -> None:
    """Compare settings with those of the identity; what one of them does not name is the default there.

    Raises:
        ExperimentError: They differ; the keys and both values are named.
    """
    defaults = config.defaults()
    kept, now = {**defaults, **record["settings"]}, {**defaults, **settings}
    differing = {key for key in kept.keys() | now.keys() if kept.get(key) != now.get(key)}
    if differing:
        named = "; ".join(f"{key} {kept.get(key)!r} -> {now.get(key)!r}" for key in sorted(differing))
        grow = ", or add architectures with pipeline extend" if NUMBER in differing else ""
        raise ExperimentError(
            f"{where}: not the experiment that was made here ({named}); "
            f"change it back, or make another experiment{grow}"
        )


def identity_record(
    resolved: Settings, plan: bytes, data_digest: str, versions: Mapping[str, int] | None = None
) -> IdentityRecord:
    """Return what decides results, and its hash.

    Args:
        resolved: The settings.
        plan: What is in `plan.csv`.
        data_digest: Of the data set.
        versions: By `config.VERSIONS`; None: this code's.
    """
    settings = config.scientific(resolved, versions) | registry.facts(resolved(ArchitecturesConfig).space)
    planned = plan_digest(plan)
    identity = _hash({"settings": settings, "plan": planned, "data": data_digest})
    return {"identity": identity, "settings": settings, "plan": planned, "data": data_digest}


def written(record: IdentityRecord) -> bytes:
    """Return what is in `identity.json`."""
    return (json.dumps(record, indent=1) + "\n").encode()


def with_number(resolved: Settings, number: int) -> Settings:
    """Return the settings with another number of architectures.

    Raises:
        ConfigError: There are not so many.
    """
    return resolved.having(replace(resolved(ArchitecturesConfig), number=number))


def recorded_versions(record: IdentityRecord) -> dict[str, int]:
    """Return the versions that the experiment was made with, by `config.VERSIONS`."""
    return {name: int(record["settings"][name]) for name in config.VERSIONS}


def plans(record: IdentityRecord) -> dict[int, str]:
    """Return the plan's digest by the number of architectures: as it was made, and as it was extended."""
    later = {each["number"]: each["plan"] for each in record.get("extended", [])}
    return {record["settings"][NUMBER]: record["plan"]} | later


def as_made(record: IdentityRecord, resolved: Settings) -> dict[str, Any]:
    """Return the settings as those of the record would be: its versions, and its number where that was extended."""
    found = config.scientific(resolved, recorded_versions(record)) | registry.recorded(record["settings"])
    if found[NUMBER] in plans(record):
        found[NUMBER] = record["settings"][NUMBER]
    return found


def read_identity(path: Path) -> IdentityRecord:
    """Read `identity.json`.

    Raises:
        ExperimentError: It is damaged, or of a later version of this code.
    """
    try:
        record: IdentityRecord = documents.load(path, IdentityRecord)
        versions, _ = recorded_versions(record), plans(record)
        found = _hash({key: record[key] for key in ("settings", "plan", "data")})
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
        raise ExperimentError(f"{path} is damaged ({error!r}); restore it from a copy") from error
    for name, newest in config.versions().items():
        if versions[name] > newest:
            raise ExperimentError(
                f"{path}: {name.replace('_', ' ')} {versions[name]} is newer than {newest}; update nap2-pipeline"
            )
    if record["identity"] != found:
        raise ExperimentError(
            f"{path} is damaged (not what {record['identity']} stands for); restore it from a copy"
        )
    return record


def plan_digest(plan: bytes) -> str:
    """Return SHA-256 of a plan."""
    return hashlib.sha256(plan).hexdigest()


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def possible_records(resolved: Settings, plan: bytes, data: str) -> Iterator[IdentityRecord]:
    """Yield what `identity.json` may have said: of each number that was perhaps extended, of each version."""
    number, newest = resolved(ArchitecturesConfig).number, config.versions()
    for first in range(number, 0, -1):
        made, begun = with_number(resolved, first), first_rows(plan, first)
        for values in product(*(range(newest[name], 0, -1) for name in config.VERSIONS)):
            versions = dict(zip(config.VERSIONS, values, strict=True))
            record = identity_record(made, begun, data, versions)
            if first < number:
                record["extended"] = [{"number": number, "plan": plan_digest(plan)}]
            yield record


def first_rows(plan: bytes, number: int) -> bytes:
    """Return the heading and so many rows of a plan."""
    return b"".join(plan.splitlines(keepends=True)[: number + 1])
