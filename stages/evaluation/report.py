"""From the stores of scores to tables, pictures and CSV: everything here can be computed again from them (R20)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from stages.datasets.config import DataConfig
from stages.evaluation.plot import Curve, curves, plot_tau
from stages.evaluation.rows import method_names
from stages.experiment import Experiment
from stages.nap2.models.config import BigruConfig, CaeConfig
from stages.scoring import metrics, results
from stages.scoring.config import EvaluationConfig
from stages.scoring.metrics import Comparison, Summary, TrialScores
from stages.scoring.tables import MISSING, differences_table, histogram_table, tau_table
from stages.splits.config import SplitsConfig
from stages.training.order import generator
from storage_schema import documents, durable, schema
from storage_schema.read import StoreError, open_derived, reading


def write_report(experiment: Experiment, name: str, source: Experiment) -> None:
    """Write `tau.md`, `tables.md`, `tau.csv`, `differences.csv` and a picture for each train size.

    Args:
        experiment: Whose test architectures were scored.
        name: Of the source, and of the folder.
        source: Where the models come from.
    """
    folder = experiment.layout.evaluation(name)
    trials = range(source.settings(SplitsConfig).num_trials)
    stores = [_scores(experiment.layout.scores(name, trial), experiment, source) for trial in trials]
    labels, kinds = _labels(stores), results.methods(experiment)
    heading = _heading(experiment, name, source, stores)
    short, text, tau, differences = [heading], [heading], [], []
    for size in stores[0]["size"].values.tolist():
        found = _agreements(experiment, stores, labels, size)
        summaries = metrics.summarise(found)
        comparisons = _comparisons(found)
        columns = _columns(stores[0])
        section = [
            f"Train size {size}",
            tau_table(summaries, columns),
            *_undefined(stores, size, kinds),
            *(f"{line}\n" for line in results.note_lines([store.attrs["notes"] for store in stores])),
            *(f"{line}\n" for line in results.remarks(experiment)),
        ]
        short += section
        text += [
            *section,
            tau_table(summaries, columns, "spearman"),
            differences_table(comparisons, columns),
        ]
        tau += _rows(summaries, size, stores[0])
        differences += _rows(comparisons, size, stores[0])
        _draw(experiment, name, source, size, summaries, stores[0], np.array(list(labels.values())))
    text.append(histogram_table(np.array(list(labels.values()))))
    durable.write(folder / "tau.md", "\n".join(short).encode())
    durable.write(folder / "tables.md", "\n".join(text).encode())
    durable.write(folder / "tau.csv", _csv(tau))
    durable.write(folder / "differences.csv", _csv(differences))


def _scores(path: Path, experiment: Experiment, source: Experiment) -> xr.Dataset:
    """Load one trial's scores in the order of the settings, with counts of twins and notes parsed, as attributes.

    Raises:
        StoreError: They are damaged, or of other train sizes or methods.
    """
    store, sizes = open_derived(path, "evaluate", schema.SCORES), source.settings(SplitsConfig).train_sizes
    rows = method_names(source, experiment)
    with reading(path):
        store = store.load()
        twins = documents.parse(store.attrs["test_with_twin_in_train"].encode(), dict[str, int])
        notes = documents.parse(store.attrs["notes"].encode(), dict[str, str])
        index, label = store["index"].values, store["label"].values
        for wanted, found in (
            (sizes, twins),
            (sizes, store["size"].values),
            (rows, store["predictor"].values),
        ):
            if sorted(wanted) != sorted(map(str, found)):
                raise StoreError(f"{path} is of other train sizes or methods; run --stage evaluate again")
        if not ((index >= 0) & (index < len(experiment.architectures)) & (label >= 0) & (label <= 1)).all():
            raise ValueError("an index is not in the plan, or a label is no fraction")
        twins = {size: twins[size] for size in sizes}
        return store.sel(size=list(sizes), predictor=rows).assign_attrs(twins=twins, notes=notes)


def _heading(experiment: Experiment, name: str, source: Experiment, stores: Sequence[xr.Dataset]) -> str:
    counts = [store.attrs["twins"] for store in stores]
    tested = sum(store.sizes["architecture"] for store in stores)
    twins = [f"{sum(count[size] for count in counts)} of {tested} (train size {size})" for size in counts[0]]
    settings, schedule = experiment.settings, source.settings(CaeConfig)
    where = (
        f"{source.settings(DataConfig).name} to {settings(DataConfig).name}, frozen"
        if name != "in-domain"
        else name
    )
    return (
        f"{experiment.layout.root.name}: {where}; {source.settings(SplitsConfig).num_trials} trials, splits "
        f"{source.settings(SplitsConfig).test}; autoencoders {schedule.epochs} epochs, warm-up {schedule.warmup}, "
        f"StepLR({schedule.step_size}, {schedule.gamma}), patience {schedule.patience}, "
        f"products {schedule.matmul_precision}; "
        f"predictor {source.settings(BigruConfig).epochs} epochs; mean ± deviation over trials\n"
        f"Test architectures with an isomorphic twin among the training ones: {', '.join(twins)}\n"
    )


def _labels(stores: Sequence[xr.Dataset]) -> dict[int, float]:
    """Return the label of every tested architecture, by index in the plan."""
    pairs = [
        (int(i), float(y)) for s in stores for i, y in zip(s["index"].values, s["label"].values, strict=True)
    ]
    return dict(sorted(pairs))


def _agreements(
    experiment: Experiment, stores: Sequence[xr.Dataset], labels: dict[int, float], size: str
) -> metrics.Agreements:
    position = {index: place for place, index in enumerate(labels)}
    trials = [
        TrialScores(
            architectures=np.array([position[int(i)] for i in store["index"].values]),
            labels=store["label"].values,
            scores={
                str(name): _compact(store["score"].sel(predictor=name, size=size).values)
                for name in store["predictor"].values
            },
        )
        for store in stores
    ]
    config = experiment.settings(EvaluationConfig)
    draws = generator(config.seed, "bootstrap", 0)
    return metrics.agreements(trials, metrics.resample_counts(len(labels), config.resamples, draws))


def _compact(scores: metrics.Floats) -> metrics.Floats:
    """Return one column of (architectures, snapshots) where all are the same: there is one τ to compute."""
    return (
        scores[:, :1]
        if np.array_equal(scores, scores[:, :1].repeat(scores.shape[1], 1), equal_nan=True)
        else scores
    )


def _undefined(stores: Sequence[xr.Dataset], size: str, kinds: Mapping[str, str]) -> list[str]:
    """Say which models ordered nothing, as an empty cell does not tell why it is empty; baselines have notes."""
    lines = []
    for name in (each for each in stores[0]["predictor"].values if each not in kinds):
        scores = [store["score"].sel(predictor=name, size=size).values for store in stores]
        trials = [str(trial) for trial, found in enumerate(scores) if any(map(metrics.is_constant, found.T))]
        if trials:
            lines.append(
                f"{MISSING} {name}: one score for all architectures in trial {', '.join(trials)}: no order, no τ\n"
            )
    return lines


def _comparisons(found: metrics.Agreements) -> list[Comparison]:
    """Compare the first method, the model on its maps, with all the others."""
    first, *others = found[metrics.ALL]
    return [row for other in others for row in metrics.compare(found, first, other)]


def _columns(store: xr.Dataset) -> dict[int, str]:
    return {i: f"{step} mb" for i, step in enumerate(store["step"].values.tolist())}


def _rows(found: Sequence[Summary | Comparison], size: str, store: xr.Dataset) -> list[dict[str, Any]]:
    steps = store["step"].values.tolist()
    return [
        {"size": size, **asdict(row), "snapshot": row.snapshot + 1, "step": steps[row.snapshot]}
        for row in found
    ]


def _csv(rows: Sequence[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def drawn(found: Mapping[str, Curve], kinds: Mapping[str, str]) -> dict[str, Curve]:
    """Keep models and references, and of each other kind of method the one that is best at the end.

    Nobody could tell more lines apart.

    Args:
        found: By row.
        kinds: Of the rows that are no models.
    """
    best: dict[str, str] = {}
    for name, curve in found.items():
        kind = kinds.get(name, "model")
        rest = kind not in ("model", "reference")
        if rest and np.isfinite(curve.mean[-1]):
            leader = best.setdefault(kind, name)
            best[kind] = max(leader, name, key=lambda each: float(found[each].mean[-1]))
        elif not rest:
            best[name] = name
    return {name: curve for name, curve in found.items() if name in best.values()}


def _draw(
    experiment: Experiment,
    name: str,
    source: Experiment,
    size: str,
    summaries: Sequence[Summary],
    store: xr.Dataset,
    labels: metrics.Floats,
) -> None:
    names = " → ".join(each.settings(DataConfig).name for each in (source, experiment))
    title = f"{names}, train size {size}; the best of each kind"
    plot_tau(
        experiment.layout.evaluation(name) / f"tau-{size}.png",
        store["step"].values.tolist(),
        drawn(curves(summaries, metrics.ALL), results.methods(experiment)),
        title,
        labels,
    )
