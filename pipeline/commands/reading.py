"""Looking at results, checking them, and predicting with them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from pipeline import show
from pipeline.commands.options import DryRunOption, ExperimentOption, JsonOption, StageOption, wanted_indices


def inspect(
    index: Annotated[int, typer.Argument(help="Index of the architecture in the plan.")],
    experiment: ExperimentOption = Path(),
    kind: Annotated[str, typer.Option(help="weights or gradients.")] = "weights",
    layer: Annotated[
        str | None, typer.Option(help="Position or name; else the mean over reachable layers.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw a picture into this file (PNG, SVG, PDF).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show one architecture: facts, curves and statistics over its snapshots."""
    from pipeline import inspect as inspection
    from pipeline.experiment import load

    opened = load(experiment)
    found = inspection.inspect(opened, index, kind, layer)
    if plot is not None:
        inspection.plot(opened, index, kind, plot)
    if as_json:
        print(json.dumps({**found.facts, "snapshots": [show.finite(row) for row in found.rows]}))
        return
    show.facts(found.facts, False)
    if found.rows:
        show.table(found.rows)
    if plot is not None:
        print(f"picture: {plot}")


def verify(
    stage: StageOption = "all",
    array: Annotated[str | None, typer.Option(help="Only these indices: 0-999, 1,5,9-12.")] = None,
    experiment: ExperimentOption = Path(),
    sample: Annotated[int, typer.Option(min=0, help="Also train so many finished networks again.")] = 0,
    seed: Annotated[int, typer.Option(help="Which ones.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare what is on disk with the digests in the done-markers; exit code 1 if anything differs."""
    from pipeline import verify as verification
    from pipeline.array_spec import format_array
    from pipeline.experiment import load
    from pipeline.registry import STAGES, chosen
    from pipeline.status import stage_status

    opened, stages = load(experiment), chosen(stage)
    wanted, _ = wanted_indices(opened, stages, array)
    findings: list[str] = []
    checked, partial, stale = 0, {}, {}
    collected = _among(stage_status(opened, STAGES["collect"]).indices["done"], wanted)
    again = verification.choose_sample(collected, sample, seed) if sample else []
    for each in stages:
        status = stage_status(opened, each)
        done = _among(status.indices["done"], wanted)
        there = _among(verification.on_disk(opened, each), wanted)
        findings += verification.verify_digests(opened, each, _tracked(there, f"{each.name}: digests"))
        findings += map(str, verification.find_shared(opened, each) if wanted is None else ())
        checked += len(done)
        stale[each.name] = format_array(_among(status.indices["stale"], wanted))
        unfinished = verification.without_marker(opened, each, _among(status.unfinished, wanted))
        partial[each.name] = format_array(unfinished)
    findings += verification.verify_by_training(opened, _tracked(again, "trained again")) if again else []
    if as_json:
        told = {"checked": checked, "trained_again": sample, "findings": findings}
        told |= {"partial": partial, "stale": stale}
        print(json.dumps(told))
    else:
        print("\n".join(findings) or f"{checked} finished indices are as they were computed", end="")
        print(f"; {sample} trained again, every value equal" if sample and not findings else "")
        for name, indices in partial.items():
            if indices:
                print(f"partial, without a done-marker: {name} {indices}; finish them: run --stage {name}")
        for name, indices in stale.items():
            if indices:
                print(f"done with other settings or inputs: {name} {indices}; run --stage {name}")
    raise typer.Exit(1 if findings else 0)


def repair(
    stage: StageOption = "all",
    array: Annotated[str | None, typer.Option(help="Only these indices: 0-999, 1,5,9-12.")] = None,
    experiment: ExperimentOption = Path(),
    dry_run: DryRunOption = False,
    rerun: Annotated[bool, typer.Option(help="Compute again what was moved aside, here.")] = True,
    workers: Annotated[int, typer.Option(min=0, help="Worker processes; 0 shares the cores out.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Move what `verify` finds damaged into `damaged/`, and compute just that again."""
    from rich.console import Console

    from pipeline import repair as repairing
    from pipeline.experiment import load
    from pipeline.registry import chosen
    from pipeline.run import RunOptions

    restored = repairing.restore_root(experiment, dry_run=dry_run)
    if restored and dry_run:
        print(json.dumps({"findings": restored, "dry_run": True}) if as_json else "\n".join(restored))
        return
    opened, stages = load(experiment), chosen(stage)
    wanted, _ = wanted_indices(opened, stages, array)
    found = repairing.damage(opened, stages, wanted)
    moved = [] if dry_run else repairing.move_aside(opened, found)
    code = 0
    if rerun and found and not dry_run:
        options = RunOptions(cluster="local", workers=workers)
        code = repairing.rerun(opened, stages, found, options, Console(stderr=True))
    findings = [*restored, *map(str, found)]
    if as_json:
        facts = {"findings": findings, "moved": [str(path) for path in moved], "dry_run": dry_run}
        print(json.dumps(facts | {"arrays": repairing.arrays(found)}))
    else:
        print("\n".join(findings) or "nothing is damaged")
        print(repairing.told(opened, found, moved, rerun=rerun, dry_run=dry_run), end="")
    raise typer.Exit(code)


def predict(
    using: Annotated[
        str, typer.Option("--using", help="Trained experiment, and its trial: runs/c10, runs/c10/3.")
    ],
    experiment: ExperimentOption = Path(),
    snapshots: Annotated[
        int | None, typer.Option(min=1, help="Snapshots to use; all of them if not given.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Train size of the model; the largest if not given.")
    ] = None,
    variant: Annotated[str, typer.Option(help="Variant of the model.")] = "maps",
    out: Annotated[Path | None, typer.Option(help="Write the ranking into this file (CSV, Parquet).")] = None,
    top: Annotated[int, typer.Option(min=1, help="Rows to print.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Rank an experiment's architectures by another's frozen models; no label of them is read."""
    from pipeline import predict as prediction
    from pipeline.experiment import load

    target = load(experiment)
    model = prediction.find_model(using, size, variant)
    found = prediction.rank(target, model, snapshots)
    if out is not None:
        prediction.write(found.rows, out)
    if as_json:
        print(json.dumps({**found.facts, "ranking": found.rows}))
        return
    show.facts(found.facts, False)
    show.table(found.rows[:top])
    if len(found.rows) > top:
        print(f"and {len(found.rows) - top} more; --top {len(found.rows)} or --out FILE shows all")


def _among(indices: list[int], wanted: list[int] | None) -> list[int]:
    return indices if wanted is None else sorted(set(indices) & set(wanted))


def _tracked(indices: list[int], description: str) -> Iterable[int]:
    """Go through indices with a bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(indices, description, console=console, disable=not console.is_terminal)
