"""What a job asks of the cluster: any of sbatch's options by name, checked before anything is submitted."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from slurm.errors import SlurmError

_NAMES: Final = """
account acctg-freq batch bb bbf begin cluster-constraint clusters comment constraint container
contiguous core-spec cores-per-socket cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot
distribution exclude exclusive extra-node-info get-user-env gid gpu-bind gpu-freq gpus gpus-per-node
gpus-per-socket gpus-per-task gres gres-flags hint licenses mail-type mail-user mcs-label mem
mem-bind mem-per-cpu mem-per-gpu mincpus network nice no-kill nodefile nodelist ntasks-per-core
ntasks-per-gpu ntasks-per-socket overcommit oversubscribe partition power prefer priority profile qos
reboot reservation signal sockets-per-node spread-job switches thread-spec threads-per-core time
time-min tmp uid use-min-nodes wait-all-nodes wckey
"""
OPTIONS: Final = frozenset(_NAMES.split())
"""Long options of sbatch that leave one task a job, its script, its name and its logs to this program."""

_OWN_NAMES: Final = """
array chdir dependency error export export-file hold input job-name kill-on-invalid-dep no-requeue
nodes ntasks ntasks-per-node open-mode output parsable requeue test-only wait wrap
"""
OWN: Final = frozenset(_OWN_NAMES.split())
"""Options that this program sets itself."""

DEFAULTS: Final = {"time": 240, "cpus-per-task": 1, "signal": "USR2@120"}
"""Four hours: short enough to fit into gaps, as work goes on in the next slice."""

PROFILES: Final[dict[str, dict[str, str | int | bool]]] = {
    "cpu": {},
    # The paper's nodes (App. E.3).
    "gtx1080ti": {"partition": "gtx1080", "constraint": "gtx1080", "gres": "gpu:1", "mem": "8G"},
}

_FLAG: Final = re.compile(r"[a-z][a-z0-9-]*")
_TIME: Final = re.compile(
    r"(?:(?P<days>N)-)?(?P<first>N)(?::(?P<second>N))?(?::(?P<third>N))?".replace("N", "[0-9]{1,9}")
)


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Options of sbatch by long name, without dashes in front; True for an option without a value.

    Attributes:
        options: As they are passed on.
        origin: By option, where it was said, for messages.
        python: Command that starts Python on a node; empty for the one that runs here.
    """

    options: Mapping[str, str | int | bool] = field(default_factory=dict)
    origin: Mapping[str, str] = field(default_factory=dict)
    python: str = ""

    def __post_init__(self) -> None:
        """Check names and values.

        Raises:
            SlurmError: An unknown option, or one that this program sets, or a value that is no value.
        """
        for name, value in self.options.items():
            where = self.origin.get(name, "the resources")
            if name in OWN:
                raise SlurmError(f"{where}: {name} is set by pipeline itself; take it out")
            if _FLAG.fullmatch(name) is None or name not in OPTIONS:
                near = difflib.get_close_matches(name, OPTIONS, n=1, cutoff=0.4)
                hint = f"; did you mean {near[0]}?" if near else "; see `man sbatch`"
                raise SlurmError(f"{where}: unknown option {name!r}{hint}")
            if isinstance(value, str) and (not value.strip() or not value.isprintable()):
                raise SlurmError(f"{where}: {name} = {value!r} is no value; write one, or take it out")
            if not isinstance(value, str | int):
                raise SlurmError(f"{where}: {name} = {value!r}; write text, a number, or true")
        _ = self.minutes

    def with_options(self, options: Mapping[str, Any], origin: str) -> Self:
        """Return these with others in their place; `false` takes one out. Underscores may stand for dashes."""
        named = {name.replace("_", "-"): value for name, value in options.items()}
        python = str(named.pop("python", self.python))
        merged = {**self.options, **named}
        return type(self)(
            options={name: value for name, value in merged.items() if value is not False},
            origin={**self.origin, **dict.fromkeys(named, origin)},
            python=python,
        )

    @property
    def minutes(self) -> float | None:
        """Time limit in minutes; None where the partition decides."""
        if "time" not in self.options:
            return None
        text = str(self.options["time"])
        found = _TIME.fullmatch(text)
        if found is None:
            raise SlurmError(
                f"{self.origin.get('time', 'the resources')}: time = {text!r}; write minutes, H:MM:SS or D-HH"
            )
        days, *parts = (int(found[name]) if found[name] else None for name in _TIME.groupindex)
        given = [part for part in parts if part is not None]
        if days is not None:  # D-HH[:MM[:SS]]
            hours, minutes, seconds = (*given, 0, 0)[:3]
        elif len(given) == 3:
            hours, minutes, seconds = given
        else:  # MM[:SS]
            hours, (minutes, seconds) = 0, (*given, 0)[:2]
        return ((days or 0) * 24 + hours) * 60 + minutes + seconds / 60


def profile(name: str) -> Resources:
    """Return the defaults with a built-in profile.

    Raises:
        SlurmError: There is no such profile.
    """
    if name not in PROFILES:
        raise SlurmError(f"unknown profile {name!r}; use one of {', '.join(PROFILES)}, or [slurm] settings")
    defaults = Resources().with_options(DEFAULTS, "the defaults")
    return defaults.with_options(PROFILES[name], f"profile {name}")


def parse_options(texts: list[str], origin: str) -> dict[str, str | bool]:
    """Read `name=value` or `name` for options without a value.

    Raises:
        SlurmError: No name.
    """
    found: dict[str, str | bool] = {}
    for text in texts:
        name, equals, value = text.strip().removeprefix("--").partition("=")
        if not name:
            raise SlurmError(f"{origin} {text!r}: write name=value, such as {origin} partition=main")
        found[name] = value if equals else True
    return found
