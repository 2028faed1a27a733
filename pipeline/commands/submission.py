"""What `run` and `retry` show of a submission to a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipeline import show

if TYPE_CHECKING:
    from pipeline.cluster import ClusterOptions
    from stages.experiment import Experiment
    from stages.stage import Stage


def show_submission(
    opened: Experiment,
    stages: list[Stage],
    wanted: list[int] | None,
    options: ClusterOptions,
    *,
    dry_run: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Submit stages, and print what was submitted; or what would be."""
    from pipeline import cluster
    from pipeline.array_spec import format_array

    if dry_run:
        show.facts(cluster.dry_run(opened, stages, wanted, options), as_json)
        return
    done = cluster.submit(opened, stages, wanted, options)
    root = opened.layout.root
    where = "" if root.resolve() == Path.cwd() else f" --experiment {root}"
    if as_json:
        told = [{"job": each.job, "stage": each.stage, "tasks": len(each.indices)} for each in done.new]
        print(json.dumps({"submitted": told, "already": done.already, "nothing_left": done.inline}))
    else:
        for each in done.new:
            print(f"{each.stage}: job {each.job}, {len(each.indices)} tasks")
        for name, indices in done.already.items():
            print(f"{name}: {format_array(indices)} queued or running already")
        for name in done.inline:
            print(f"{name}: all done")
        print(f"watch: pipeline status{where} --watch")
    if wait:
        raise typer.Exit(cluster.follow(opened, stages))
