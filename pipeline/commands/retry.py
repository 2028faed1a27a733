"""`pipeline retry`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline import show
from pipeline.commands.options import (
    ExperimentOption,
    JsonOption,
    MaxFailuresOption,
    ProfileOption,
    SbatchOption,
    StageOption,
)
from pipeline.commands.submission import show_submission


def retry(
    stage: StageOption = "collect",
    array: Annotated[str | None, typer.Option(help="Only these indices.")] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Those that failed; the default without --array.")
    ] = False,
    exclude_nodes: Annotated[
        str | None, typer.Option(help="Nodes to keep away from, as Slurm writes them: node3,node[7-9].")
    ] = None,
    experiment: ExperimentOption = Path(),
    profile: ProfileOption = None,
    sbatch: SbatchOption = None,
    max_failures: MaxFailuresOption = None,
    as_json: JsonOption = False,
) -> None:
    """Submit again what failed, or the indices given, of one stage."""
    from pipeline.asked import one_stage, wanted_indices
    from pipeline.cluster import ClusterOptions
    from pipeline.experiment import load
    from pipeline.explain import failed as failures

    opened, one = load(experiment), one_stage(stage, "retry")
    wanted, throttle = wanted_indices(opened, [one], array)
    if failed or wanted is None:
        lost = set(failures(opened, one))
        wanted = sorted(lost if wanted is None else lost & set(wanted))
    if not wanted:
        show.facts({"failed": "none; nothing to submit"}, as_json)
        return
    away = [f"exclude={exclude_nodes}"] if exclude_nodes else []
    asked = ClusterOptions(
        profile=profile,
        sbatch=(*(sbatch or ()), *away),
        max_parallel=throttle,
        max_failures=max_failures,
    )
    show_submission(opened, [one], wanted, asked, dry_run=False, wait=False, as_json=as_json)
