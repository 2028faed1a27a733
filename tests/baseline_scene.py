"""An experiment of the smallest preset, collected, labelled and split, and the commands that baselines are run with."""

from __future__ import annotations

from contextlib import nullcontext

from rich.console import Console

from pipeline.experiment import change
from pipeline.registry import STAGES
from pipeline.run import RunOptions, run_stage
from stages.baselines.method import Method, label_free
from stages.experiment import Experiment
from stages.scoring import results
from stages.stage import Execution

REFERENCES = "parameters, FLOPs, layers, cell trees"
STAGE = STAGES["baselines"]
QUIET = Console(quiet=True)
EXECUTION = Execution(
    identity="x", should_stop=lambda: False, guard=nullcontext, progress=lambda share, note="": None
)


def run(experiment: Experiment, *stages: str) -> int:
    codes = [run_stage(experiment, STAGES[s], None, RunOptions(cluster="inline"), QUIET) for s in stages]
    return max(codes)


def only(experiment: Experiment, *methods: str) -> Experiment:
    return change(experiment.layout.root, [f"baselines.methods={', '.join((REFERENCES, *methods))}"])


def scores_of(experiment: Experiment, method: str, source: str = "in-domain") -> list[results.Result]:
    return [each for each in results.of_trial(experiment, source, 0) if each.method == method]


def plain(name: str, score: object) -> Method:
    return Method(name=name, kind="cell", fit=label_free(score), source="test", learned=False)  # type: ignore[arg-type]
