"""What the tests do on the cluster: the product's commands, Slurm's commands, waiting and looking."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slurm_cluster
import torch

from pipeline.experiment import initialize
from stages.experiment import Experiment
from stages.training import checkpoint
from storage_schema import markers

SETTINGS = (
    "architectures.number=12",
    "architectures.channels=2",
    "architectures.cells_per_stage=1",
    "recording.interval=10",
    "recording.snapshots=4",
    "training.batch_size=32",
)
LONG = ("recording.interval=60", "recording.snapshots=12")
"""Ten seconds of work, twice as many on a busy core."""
SLICED = ("recording.interval=250", "recording.snapshots=20")
"""A minute of work."""
MEMORY = "--sbatch=mem=900M"
PATIENCE = 4
"""How much longer than on a quiet machine things may take: other tests run beside these."""

LOGS: dict[tuple[tuple[Path, ...], int], Path] = {}
"""Where logs are, by the submissions that there were, and an index."""


@dataclass(frozen=True)
class Cluster:
    """The commands of the product, in an environment that talks to the test cluster."""

    folder: Path

    def pipeline(self, *words: str, code: int | None = 0, **environment: str) -> str:
        """Run `pipeline …`; returns what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", *words],
            env={
                **slurm_cluster.environment(),
                "XDG_CONFIG_HOME": str(self.folder / "config"),
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=600 * PATIENCE,
        )
        if code is not None:
            assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def slurm(self, *command: str) -> str:
        """Run one of Slurm's commands."""
        done = subprocess.run(
            command, env=slurm_cluster.environment(), capture_output=True, text=True, check=False
        )
        return done.stdout.strip() + done.stderr.strip()

    def make(self, *settings: str, name: str = "experiment") -> Experiment:
        """Make an experiment."""
        return initialize(self.folder / name, "smoke", (*SETTINGS, *settings))

    def submit(self, experiment: Experiment, *words: str, stage: str = "collect") -> str:
        """Submit; returns the id of the first array."""
        root = str(experiment.layout.root)
        out = self.pipeline(
            "run", "-e", root, "--stage", stage, "--cluster", "slurm", MEMORY, "--pack", "1", "--json", *words
        )
        submitted = json.loads(out.splitlines()[-1])["submitted"]
        return str(submitted[0]["job"]) if submitted else ""

    def done(self, experiment: Experiment, stage: str = "collect") -> set[int]:
        """Return the indices with a marker."""
        return markers.done_indices(experiment.layout.markers(stage))

    def wait_for(self, condition: Callable[[], Any], seconds: float = 120, what: str = "") -> Any:
        """Wait for something that is true in the end, on a quiet machine within so many seconds; returns it."""
        end = time.monotonic() + PATIENCE * seconds
        while not (found := condition()):
            if time.monotonic() > end:
                raise AssertionError(
                    f"waited {PATIENCE * seconds} s for {what or condition}\n{self.slurm('squeue')}"
                )
            time.sleep(0.3)
        return found

    def idle(self) -> bool:
        """Whether the queue is empty."""
        return self.slurm("squeue", "-h") == ""

    def wait_until_idle(self, seconds: float = 180) -> None:
        """Wait until the queue is empty."""
        self.wait_for(self.idle, seconds, "an empty queue")

    def step(self, experiment: Experiment, index: int) -> int:
        """Return the mini-batch of an index's checkpoint, 0 where there is none."""
        path = experiment.layout.checkpoint("collect", index)
        kept = checkpoint.load(path, torch.device("cpu"), experiment.identity)
        return int(kept["step"]) if kept else 0

    def lost(self, experiment: Experiment, index: int, ended: float) -> float:
        """Return the seconds of work between an index's last checkpoint and the end of its process."""
        return max(0.0, ended - experiment.layout.checkpoint("collect", index).stat().st_mtime)

    def log(self, experiment: Experiment, index: int) -> str:
        """Return all that the index's last task has printed, empty where it has not begun.

        The command says where the log is, once for each submission: a poll then costs no process.
        """
        submitted = tuple(sorted(experiment.layout.submissions.glob("*/submission.json")))
        place = (submitted, index)
        if place not in LOGS:
            root = str(experiment.layout.root)
            LOGS[place] = Path(self.pipeline("logs", str(index), "-e", root).splitlines()[0])
        return LOGS[place].read_text(encoding="utf-8") if LOGS[place].is_file() else ""
