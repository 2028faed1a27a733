"""The command line: it parses, calls, prints and turns mistakes into one line; nothing else.

Commands import what they need when they run, so that `pipeline --help` answers at once.
"""

from __future__ import annotations

import errno
import json
import math
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from storage_schema.errors import UserError

if TYPE_CHECKING:
    from stages.stage import Experiment, Stage

app = typer.Typer(
    help="Collect training dynamics of neural networks, and predict from them how good a network will be.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
data_app = typer.Typer(help="Image data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data")

ExperimentOption = Annotated[Path, typer.Option("--experiment", "-e", help="Experiment directory.")]
PresetOption = Annotated[
    str, typer.Option("--preset", help="smoke, demo, cifar10, cifar100, cifar10-small, cifar100-small.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="A setting, section.key=value; repeatable.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
# Click's UsageError, of whichever click this typer brings.
USAGE_ERROR = cast("type[Exception]", typer.BadParameter.__mro__[1])
EXIT_MISTAKE, EXIT_INTERRUPTED = 2, 130
REMEDIES = {
    errno.ENOSPC: "make room and run the same command again",
    errno.EDQUOT: "make room and run the same command again",
    errno.EFBIG: "raise the limit and run the same command again",
    errno.EACCES: "change its permissions or choose another place",
    errno.EPERM: "change its permissions or choose another place",
    errno.EROFS: "choose a place that can be written",
    errno.ENOTDIR: "choose another place",
}

StageOption = Annotated[
    str,
    typer.Option(
        "--stage", help="collect, labels, split, cae, embed, bigru, evaluate, or all in this order."
    ),
]


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(help="The directory to make.")],
    preset: PresetOption,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an experiment directory: settings, plan and identity."""
    from pipeline.experiment import initialize

    experiment = initialize(directory, preset, settings or [])
    facts = {
        "experiment": str(directory),
        "identity": experiment.identity,
        "architectures": len(experiment.architectures),
        "next": f"pipeline run --experiment {directory} --stage all",
    }
    _print(facts, as_json)


@app.command()
def run(
    stage: StageOption = "all",
    array: Annotated[
        str | None, typer.Option(help="Indices, as Slurm writes them: 0-999, 0-99:3, 1,5,9-12.")
    ] = None,
    cluster: Annotated[
        str, typer.Option(help="inline (this process), local (worker processes) or auto.")
    ] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Worker processes; 0 shares the cores out.")] = 0,
    experiment: ExperimentOption = Path(),
    preset: Annotated[
        str | None, typer.Option("--preset", help="Make the experiment first, if it is not there.")
    ] = None,
    settings: SetOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would run, and what it would take.")
    ] = False,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Go on with the architectures that are finished.")
    ] = False,
    keep_twins_together: Annotated[
        bool, typer.Option("--keep-twins-together", help="Isomorphic twins go into one part of a split.")
    ] = False,
    allow_device_change: Annotated[
        bool, typer.Option(help="Resume on another device or versions; recorded.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run what is missing of one stage or of all; run it again after any interruption."""
    from rich.console import Console

    from pipeline.registry import chosen
    from pipeline.run import RunOptions, run_stage, summary
    from pipeline.status import stage_status

    stages = chosen(stage)
    settings = [*(settings or []), *(["splits.allow_partial=true"] if allow_partial else [])]
    settings += ["splits.keep_twins_together=true"] if keep_twins_together else []
    if cluster not in ("auto", "inline", "local"):
        raise UserError(f"unknown cluster {cluster!r}; use inline, local or auto")
    opened = _open_or_make(experiment, preset, settings, dry_run)
    wanted, throttle = _wanted(opened, stages, array)
    options = RunOptions(
        cluster=cluster, workers=workers, throttle=throttle, allow_device_change=allow_device_change
    )
    console = Console(stderr=True, highlight=False)
    if dry_run:
        from pipeline.forecast import dry_run as foresee

        _print(foresee(opened, stages, wanted, options), as_json)
        return
    code, report = 0, {}
    for each in stages:
        code = run_stage(opened, each, wanted, options, console)
        status = stage_status(opened, each)
        report[each.name] = {state: len(found) for state, found in status.indices.items()}
        if not as_json:
            print("\n".join([summary(status), *each.report(opened)]))
        if code:
            break
    if as_json:
        print(json.dumps(report))
    raise typer.Exit(code)


@app.command()
def status(
    stage: StageOption = "all",
    experiment: ExperimentOption = Path(),
    missing: Annotated[
        bool, typer.Option("--missing", help="Print what is not done as an --array value.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what is done, partial, running, failed and missing, from the data."""
    from pipeline.array_spec import format_array
    from pipeline.experiment import load
    from pipeline.registry import chosen
    from pipeline.run import summary
    from pipeline.status import stage_status

    opened, stages = load(experiment), chosen(stage)
    if missing and len(stages) > 1:
        raise UserError("--missing needs one --stage: an index is something else in each of them")
    found = [stage_status(opened, each) for each in stages]
    if missing:
        unfinished = {index for each in found for index in each.unfinished}
        if unfinished:
            print(format_array(unfinished))
        return
    if as_json:
        states = {
            s.stage: {state: format_array(i) if i else "" for state, i in s.indices.items()} for s in found
        }
        failures = {s.stage: s.failures for s in found}
        print(json.dumps({"identity": opened.identity, "stages": states, "failures": failures}))
        return
    for each in found:
        print(summary(each))
        for index, reason in sorted(each.failures.items())[:10]:
            print(f"  {index}: {reason}")
    todo = [s.stage for s in found if s.unfinished]
    where = "" if experiment == Path() else f" --experiment {experiment}"
    print(f"next: pipeline run --stage {todo[0]}{where}" if todo else "all done")


@app.command()
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
        print(json.dumps({**found.facts, "snapshots": [_finite(row) for row in found.rows]}))
        return
    _print(found.facts, False)
    if found.rows:
        _table(found.rows)
    if plot is not None:
        print(f"picture: {plot}")


@app.command()
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
    wanted, _ = _wanted(opened, stages, array)
    findings, checked, partial = [], 0, {}
    collected = _among(stage_status(opened, STAGES["collect"]).indices["done"], wanted)
    again = verification.choose_sample(collected, sample, seed) if sample else []
    for each in stages:
        status = stage_status(opened, each)
        done = _among(status.indices["done"], wanted)
        findings += verification.verify_digests(opened, each, _tracked(done, f"{each.name}: digests"))
        checked += len(done)
        unfinished = verification.without_marker(opened, each, _among(status.unfinished, wanted))
        partial[each.name] = format_array(unfinished)
    findings += verification.verify_by_training(opened, _tracked(again, "trained again")) if again else []
    if as_json:
        told = {"checked": checked, "trained_again": sample, "findings": findings, "partial": partial}
        print(json.dumps(told))
    else:
        print("\n".join(findings) or f"{checked} finished indices are as they were computed", end="")
        print(f"; {sample} trained again, every value equal" if sample and not findings else "")
        for name, indices in partial.items():
            if indices:
                print(f"partial, without a done-marker: {name} {indices}; finish them: run --stage {name}")
    raise typer.Exit(1 if findings else 0)


@app.command()
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
    _print(found.facts, False)
    _table(found.rows[:top])
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


@data_app.command()
def manifest(
    directory: Annotated[Path, typer.Argument(help="Folder that holds the data set's files.")],
    name: Annotated[
        str | None, typer.Option(help="Which data set; needed when the folder holds several.")
    ] = None,
) -> None:
    """Vouch for data files that no official list covers: write their checksums beside them."""
    from stages.datasets.checksums import names_at, write_manifest

    for each in [name] if name else names_at(directory):
        print(f"wrote {write_manifest(directory, each)}")


def _open_or_make(root: Path, preset: str | None, settings: list[str], dry_run: bool) -> Experiment:
    from pipeline import experiment

    if preset is not None and not (root / "experiment.toml").exists():
        if dry_run:
            return experiment.draft(root, preset, settings)[0]
        return experiment.initialize(root, preset, settings)
    if preset is not None:
        experiment.check_preset(root, preset, settings)
    return experiment.load(root) if not settings else experiment.change(root, settings, write=not dry_run)


def _wanted(
    opened: Experiment, stages: list[Stage], array: str | None
) -> tuple[list[int] | None, int | None]:
    """Return the indices asked for, None for all, and how many may run at a time."""
    from pipeline.array_spec import parse_array

    if array is None:
        return None, None
    if len(stages) > 1:
        raise UserError(f"--array {array} needs one --stage: an index is something else in each of them")
    spec = parse_array(array).within(stages[0].num_tasks(opened))
    return list(spec.indices), spec.throttle


def _print(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts))
        return
    for key, value in facts.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        print(f"{key}: {text}")


def _finite(row: dict[str, float]) -> dict[str, float | None]:
    """JSON knows no NaN."""
    return {name: value if math.isfinite(value) else None for name, value in row.items()}


def _table(rows: Sequence[Mapping[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    for name in rows[0]:
        table.add_column(
            name.replace("_", " "),
            justify="left" if isinstance(rows[0][name], str) else "right",
            no_wrap=True,
        )
    for row in rows:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    width = (
        Console(width=1000).measure(table).maximum
    )  # what is piped, or too wide for a terminal, is not cut
    Console(highlight=False, width=width).print(table)


def main() -> None:
    """Entry point: a user's mistake is one line on stderr and exit code 2."""
    try:
        code = app(prog_name="pipeline", standalone_mode=False) or 0
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0)
        _fail(
            f"{error.filename or ''}: {error.strerror or error}".lstrip(": ")
            + (f"; {remedy}" if remedy else "")
        )
    except USAGE_ERROR as error:
        _misused(error)
    except (KeyboardInterrupt, typer.Abort):  # before or after typer, which makes it this exit code
        code = EXIT_INTERRUPTED
    if code == EXIT_INTERRUPTED:
        _fail("interrupted; what is finished or saved is kept, run the same command to go on", code)
    sys.exit(code)


def _misused(error: Any) -> None:
    """A wrong word on the command line; a command that was given none shows its help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        sys.exit(EXIT_MISTAKE)
    asked = error.ctx.command_path if error.ctx else "pipeline"
    given = shlex.join(["pipeline", *sys.argv[1:]])
    _fail(f"{error.format_message().rstrip('.')}, in `{given}`; see `{asked} --help`")


def _fail(text: str, code: int = EXIT_MISTAKE) -> None:
    print(f"pipeline: {' '.join(text.split())}", file=sys.stderr)
    sys.exit(code)
