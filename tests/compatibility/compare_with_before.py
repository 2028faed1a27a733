"""Experiments that earlier code made, with the code of now: do they open, verify, evaluate, and collect to equal bytes?

    python tests/compatibility/compare_with_before.py FOLDER [--networks 10]

FOLDER holds experiments made by the earlier code, such as `smoke` with all stages done and ten networks of
`cifar10-small`. They are copied, and stay as they are. Prints a line per check; the exit code is 1 if one fails.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import xarray as xr

from storage_schema import markers
from storage_schema.write import file_digests

STAGES = ["collect", "zero-cost", "labels", "split", "cae", "embed", "bigru", "baselines", "evaluate"]


def pipeline(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", *words]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        print(f"pipeline {' '.join(words)}: exit code {ran.returncode}\n{ran.stderr}", flush=True)
    return ran


def done(root: Path) -> dict[str, str]:
    """The done indices of each stage, as an array."""
    shown = json.loads(pipeline("status", "-e", str(root), "--json").stdout)
    return {name: states["done"] for name, states in shown["stages"].items()}


def marked(root: Path) -> dict[str, int]:
    """How many done-markers the earlier code left, by stage."""
    return {stage: len(markers.done_indices(root / "markers" / stage)) for stage in STAGES}


def size(array: str) -> int:
    parts = [part.split("-") for part in array.split(",") if part]
    return sum(int(part[-1]) - int(part[0]) + 1 for part in parts)


def checks(before: Path, folder: Path, networks: int) -> Iterator[tuple[str, bool]]:
    copy = folder / before.name
    shutil.copytree(before, copy)
    kept, there = done(copy), marked(before)
    for stage, number in there.items():
        yield f"{stage}: {number} done before, {size(kept[stage])} now", size(kept[stage]) == number
    for stage in (each for each, number in there.items() if number):
        found = pipeline("verify", "-e", str(copy), "--stage", stage)
        yield f"{stage} verified", found.returncode == 0
    if there["evaluate"]:
        yield from again(before, copy)
    yield from fresh(before, folder / f"{before.name}-fresh", min(networks, there["collect"]))


def again(before: Path, copy: Path) -> Iterator[tuple[str, bool]]:
    """Evaluate and predict with the models of then."""
    shutil.rmtree(copy / "evaluation")
    shutil.rmtree(copy / "markers" / "evaluate")
    found = pipeline("run", "-e", str(copy), "--stage", "evaluate", "--cluster", "inline")
    yield "evaluated again", found.returncode == 0
    for store in sorted((before / "evaluation").glob("*/*.zarr")):
        then, now = (xr.open_zarr(root / store.relative_to(before)) for root in (before, copy))
        equal = np.array_equal(then.score.values, now.score.values, equal_nan=True)
        yield f"{store.relative_to(before)}: equal scores", equal
    ranked = pipeline("predict", "-e", str(copy), "--using", str(before), "--json")
    yield "predicted", ranked.returncode == 0


def fresh(before: Path, root: Path, networks: int) -> Iterator[tuple[str, bool]]:
    """Collect some networks anew, with the settings of then, and compare the bytes of the store."""
    root.mkdir()
    for name in ("experiment.toml", "plan.csv", "identity.json"):
        shutil.copyfile(before / name, root / name)
    where = ("-e", str(root), "--stage", "collect", "--array", f"0-{networks - 1}")
    found = pipeline("run", *where, "--cluster", "local", "--workers", "2")
    yield f"{networks} networks collected anew", found.returncode == 0
    for index in range(networks):
        then, now = (file_digests(each / "dynamics.zarr", index) for each in (before, root))
        for name in then:
            yield f"network {index}, {name}: equal digests", then[name] == now.get(name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--networks", type=int, default=10)
    given, failed = parser.parse_args(), 0
    with tempfile.TemporaryDirectory(prefix="before-") as folder:
        for before in sorted(path.parent for path in given.folder.glob("*/experiment.toml")):
            results = list(checks(before, Path(folder), given.networks))
            wrong = [text for text, good in results if not good]
            failed += len(wrong)
            for text in wrong:
                print(f"{before.name}: WRONG {text}", flush=True)
            for text in (text for text, _ in results if "network " not in text):
                print(f"{before.name}: {text}", flush=True)
            digests = [good for text, good in results if "equal digests" in text]
            print(f"{before.name}: {sum(digests)} of {len(digests)} digests of networks equal", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
