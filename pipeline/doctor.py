"""What would go wrong later, found before anything is queued: versions, device, folder, space, cluster, nodes."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, TypedDict

from pipeline.cluster import ClusterOptions, resolve_resources
from pipeline.experiment import load
from pipeline.forecast import forecast
from pipeline.registry import STAGES
from pipeline.run import missing_indices
from slurm import controller
from slurm.errors import SlurmError
from slurm.ledger import Ledger
from slurm.submit import Job, Submitter, cut
from stages.experiment import Experiment
from stages.training.device_check import devices
from storage_schema import documents, durable

PACKAGES = ("torch", "numpy", "scipy", "zarr", "xarray", "numcodecs", "submitit", "nap2-pipeline")
SKEW_SECONDS = 30.0
"""Of clocks between two machines; leases of other machines count as stale after two minutes."""
PROBE_SECONDS = 180.0
MOST_NODES = 64
SPARE = 1.2


@dataclass(frozen=True, kw_only=True)
class Check:
    """One finding; `doubtful` is to be looked at, `bad` would fail."""

    name: str
    verdict: Literal["good", "doubtful", "bad"]
    detail: str
    remedy: str = ""

    def __str__(self) -> str:
        """One line."""
        remedy = f"; {self.remedy}" if self.remedy and self.verdict != "good" else ""
        return f"{self.verdict:9}{self.name}: {self.detail}{remedy}"

    def record(self) -> dict[str, str]:
        """Return it for JSON."""
        return asdict(self)


class Machine(TypedDict):
    """What a machine is like."""

    python: str
    executable: str
    packages: dict[str, str]
    build: str
    driver: bool
    devices: list[str]
    unsupported: list[str]
    cublas: str
    lag: Any


@dataclass(frozen=True)
class ProbeTask:
    """The picklable look at one node; its only index is 0."""

    folder: str

    def __call__(self, index: int) -> int:  # noqa: ARG002
        """Write what this machine is like; see `slurm.task.Task`."""
        node = os.environ.get("SLURMD_NODENAME", socket.gethostname())
        durable.write_json(Path(self.folder) / f"{node}.json", look(Path(self.folder)))
        return 0


def examine(root: Path, *, on_nodes: bool) -> list[Check]:
    """Check everything; an experiment is looked at where there is one."""
    experiment = load(root) if (root / "experiment.toml").is_file() else None
    mine = look(root)
    found = [*machine(mine), cluster(0 if experiment is None else len(experiment.architectures))]
    if experiment is not None:
        found += [*folder(root), space(experiment)]
    if on_nodes:
        if experiment is None:
            detail = f"{root} is no experiment; nodes are asked through its folder"
            return [
                *found,
                Check(name="nodes", verdict="bad", detail=detail, remedy="name one: --experiment DIR"),
            ]
        found += list(nodes(experiment, mine))
    return found


def look(place: Path) -> Machine:
    """Return what a machine is like: versions, devices, and its clock beside a folder's."""
    seen = devices()
    probe = place / f".probe-{uuid.uuid4().hex[:8]}{durable.PARTIAL}"
    lag = None
    if os.access(place, os.W_OK):
        probe.touch()
        lag = time.time() - probe.stat().st_mtime
        probe.unlink()
    return {
        "python": sys.version.split()[0],
        "executable": sys.executable,
        "packages": {name: _version(name) for name in PACKAGES},
        "build": seen.build,
        "driver": seen.driver,
        "devices": list(seen.names),
        "unsupported": list(seen.unsupported),
        "cublas": os.environ.get("CUBLAS_WORKSPACE_CONFIG", ""),
        "lag": lag,
    }


def machine(seen: Machine) -> list[Check]:
    """Judge one machine."""
    found = [Check(name="python", verdict="good", detail=f"{seen['python']} ({seen['executable']})")]
    lacking = [name for name, number in seen["packages"].items() if not number]
    listed = ", ".join(f"{name} {number}" for name, number in seen["packages"].items() if number)
    remedy = f"install them: {', '.join(lacking)}"
    found.append(Check(name="packages", verdict="bad" if lacking else "good", detail=listed, remedy=remedy))
    if seen["unsupported"]:
        remedy = "install torch's build for CUDA 12.6, which has code for Pascal (the 1080 Ti)"
        found.append(
            Check(name="device", verdict="bad", detail="; ".join(seen["unsupported"]), remedy=remedy)
        )
    elif seen["build"] and not seen["driver"]:
        detail = f"torch is built for CUDA {seen['build']}, and no driver or GPU answers"
        found.append(Check(name="device", verdict="doubtful", detail=detail, remedy="the CPU is used"))
    else:
        found.append(Check(name="device", verdict="good", detail=", ".join(seen["devices"]) or "CPU"))
    workspace = seen["cublas"]
    found.append(
        Check(
            name="CUBLAS_WORKSPACE_CONFIG",
            verdict="good" if workspace in ("", ":16:8", ":4096:8") else "bad",
            detail=workspace or "not set; tasks set it",
            remedy="unset it, or use :4096:8; with others CUDA is not deterministic",
        )
    )
    return found


def folder(root: Path) -> Iterator[Check]:
    """Try the experiment's folder: write, fsync, rename, lock."""
    probe = root / f".probe-{uuid.uuid4().hex[:8]}"
    try:
        durable.write(probe, b"probe")
        with probe.open("r+") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 7)
        yield Check(name="folder", verdict="good", detail=f"{root}: write, fsync, rename and lock work")
    except OSError as error:
        detail = f"{root}: {error.strerror or error}"
        remedy = "results need a folder that can be written and locked"
        yield Check(name="folder", verdict="bad", detail=detail, remedy=remedy)
    finally:
        probe.unlink(missing_ok=True)


def space(experiment: Experiment) -> Check:
    """Compare free bytes and inodes with what collection is expected to need."""
    stage = STAGES["collect"]
    expected = forecast(experiment, stage, missing_indices(experiment, stage, None))
    disk = os.statvfs(experiment.layout.root)
    free, inodes = disk.f_bavail * disk.f_frsize, disk.f_favail
    detail = f"{free / 1e9:.1f} GB free, {expected.bytes / 1e9:.2f} GB and {expected.files} files expected"
    short = free < SPARE * expected.bytes or (disk.f_files and inodes < SPARE * expected.files)
    return Check(
        name="space",
        verdict="bad" if short else "good",
        detail=detail,
        remedy="make room, or raise the quota",
    )


def cluster(indices: int) -> Check:
    """Ask the controller for its limits, and say how a plan of so many indices would be cut."""
    if not controller.installed():
        return Check(name="slurm", verdict="good", detail="not installed; --cluster local is what there is")
    if not controller.answers():
        remedy = "set SLURM_CONF, or ask the administrators"
        return Check(name="slurm", verdict="doubtful", detail="no controller answers", remedy=remedy)
    limits = controller.limits()
    pieces = cut(range(indices), limits, None)
    queued = "" if limits.jobs is None else f", at most {limits.jobs} queued"
    plan = f"; {indices} indices are {len(pieces)} of them" if indices else ""
    return Check(name="slurm", verdict="good", detail=f"arrays up to {limits.array} tasks{queued}{plan}")


def nodes(experiment: Experiment, mine: Machine) -> Iterator[Check]:
    """Run a probe on every node that the resources may use, and compare it with this machine."""
    try:
        controller.require()
        resources = resolve_resources(experiment, ClusterOptions())
        names = controller.nodes(str(resources.options.get("partition", "")))[:MOST_NODES]
        place = experiment.layout.submissions.resolve() / f"probe-{uuid.uuid4().hex[:8]}"
        place.mkdir(parents=True)
        job = Job(tasks=[ProbeTask(str(place))], stage="doctor", indices=[[0]])
        with Ledger(place.parent).locked():
            jobs = {
                name: Submitter(
                    place.parent, resources.with_options({"nodelist": name, "time": 5}, "doctor"), "doctor"
                ).submit(job)
                for name in names
            }
    except SlurmError as error:
        yield Check(name="nodes", verdict="bad", detail=str(error))
        return
    end = time.monotonic() + PROBE_SECONDS
    waiting = set(names)
    while waiting and time.monotonic() < end:
        time.sleep(1)
        alive = {task.job for task in controller.queue(job.job for job in jobs.values())}
        for name in sorted(waiting):
            path = place / f"{name}.json"
            if path.is_file():
                waiting.discard(name)
                yield compare(name, read_probe(path), mine)
            elif jobs[name].job not in alive:
                waiting.discard(name)
                time.sleep(1)  # the shared folder may be a moment behind
                if path.is_file():
                    yield compare(name, read_probe(path), mine)
                else:
                    yield _no_answer(name, experiment, jobs[name].name, jobs[name].job)
    for name in sorted(waiting):
        controller.cancel([jobs[name].job])
        yield Check(
            name=name, verdict="doubtful", detail=f"no answer in {PROBE_SECONDS:.0f} s; it may be busy"
        )


def read_probe(path: Path) -> Machine:
    """Read what a node wrote of itself.

    Raises:
        SlurmError: It is something else.
    """
    try:
        found: Machine = documents.load(path, Machine)
    except ValueError as error:
        raise SlurmError(f"{path} is not what a probe writes ({error})") from error
    if not isinstance(found["lag"], float | None):
        raise SlurmError(f"{path} is not what a probe writes: its lag is no number")
    return found


def compare(name: str, theirs: Machine, mine: Machine) -> Check:
    """Judge a node beside this machine: bits are promised for equal versions only."""
    wrong = []
    if theirs["python"] != mine["python"]:
        wrong.append(f"Python {theirs['python']} there, {mine['python']} here")
    for package, number in mine["packages"].items():
        if theirs["packages"].get(package) != number:
            wrong.append(f"{package} {theirs['packages'].get(package)} there, {number} here")
    wrong += theirs["unsupported"]
    if theirs["lag"] is not None and mine["lag"] is not None:
        skew = theirs["lag"] - mine["lag"]
        if abs(skew) > SKEW_SECONDS:
            wrong.append(f"its clock is {skew:+.0f} s off")
    if wrong:
        remedy = "use one environment in a shared folder, and synchronized clocks"
        return Check(name=name, verdict="bad", detail="; ".join(wrong), remedy=remedy)
    devices_there = ", ".join(theirs["devices"]) or "CPU"
    return Check(name=name, verdict="good", detail=f"as here; {devices_there}")


def _no_answer(name: str, experiment: Experiment, submission: str, job: str) -> Check:
    log = experiment.layout.submissions / submission / f"{job}_0_log.out"
    try:
        said = log.read_text(errors="replace").strip().splitlines()[-1:]
    except OSError:
        said = [f"it wrote no log: {experiment.layout.root} is not there on the node"]
    return Check(
        name=name,
        verdict="bad",
        detail=f"the probe ended without a word: {said[0] if said else 'its log is empty'}",
        remedy="the same Python, packages and folders have to be there",
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
