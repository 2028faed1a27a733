"""Seconds, memory and system calls of one operation on an experiment, in a process of its own: prints them as JSON.

`python tests/torture/measured.py OPERATION EXPERIMENT`, with an operation of `OPERATIONS`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

CALLS: Counter[str] = Counter()


def open_plainly(root: Path) -> int:
    import xarray as xr

    return int(xr.open_zarr(root / "dynamics.zarr").sizes["architecture"])


def load(root: Path) -> int:
    from pipeline.experiment import load

    return len(load(root).architectures)


def status(root: Path) -> int:
    from pipeline.experiment import load
    from pipeline.registry import STAGES
    from pipeline.status import stage_status

    return len(stage_status(load(root), STAGES["collect"]).indices["done"])


def status_of_all(root: Path) -> int:
    from pipeline.experiment import load
    from pipeline.registry import STAGES
    from pipeline.status import stage_status

    experiment = load(root)
    found = [stage_status(experiment, stage) for stage in STAGES.values()]
    return found[0].total


def verify(root: Path) -> int:
    from pipeline.experiment import load
    from pipeline.registry import STAGES
    from pipeline.status import stage_status
    from pipeline.verify import verify_digests, without_marker

    experiment, stage = load(root), STAGES["collect"]
    found = stage_status(experiment, stage)
    assert without_marker(experiment, stage, found.unfinished) == []
    assert verify_digests(experiment, stage, found.indices["done"]) == []
    return len(found.indices["done"])


def gather(root: Path) -> int:
    from pipeline.experiment import load
    from pipeline.registry import STAGES

    STAGES["collect"].finalise(load(root))
    return 1


OPERATIONS: dict[str, Callable[[Path], int]] = {
    "open": open_plainly,
    "load": load,
    "status": status,
    "status of all": status_of_all,
    "verify": verify,
    "gather": gather,
}


def count_calls() -> None:
    """Count opened files and listed folders by their audit events, and `os.stat`, which has none, by wrapping it."""
    last: Any = None

    def hear(event: str, about: tuple[Any, ...]) -> None:
        nonlocal last
        if event == "open":
            # `open` with an opener has two events for one file, the second that of `os.open`, without a mode.
            path, mode, _ = about
            CALLS["opens"] += not (mode is None and path == last)
            last = None if mode is None else path
        elif event in ("os.listdir", "os.scandir"):
            CALLS["listings"] += 1

    sys.addaudithook(hear)
    stat = os.stat

    def counted(*args: Any, **options: Any) -> os.stat_result:
        CALLS["stats"] += 1
        return stat(*args, **options)

    os.stat = counted  # type: ignore[assignment]


def resident() -> float:
    """Megabytes, the most so far of this program; `getrusage` would begin with those of the process that started it."""
    (line,) = [each for each in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in each]
    return int(line.split()[1]) * 1024 / 1e6


def main(operation: str, root: Path) -> None:
    import xarray  # noqa: F401  what is imported is not what is measured

    import pipeline.registry
    import pipeline.status
    import pipeline.verify  # noqa: F401

    count_calls()
    before, start = resident(), time.perf_counter()
    found = OPERATIONS[operation](root)
    measured = {"seconds": time.perf_counter() - start, "megabytes": resident(), "before": before}
    print(json.dumps({"found": found, **measured, "opens": 0, "stats": 0, "listings": 0, **CALLS}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
