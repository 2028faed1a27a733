"""What the baselines stage tells: τ, seconds, and why a cell is empty."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.stats import kendalltau

from baseline_scene import QUIET, STAGE, only, plain, run, scores_of
from pipeline.commands.run import show_run
from pipeline.execute import EXIT_DONE
from pipeline.experiment import initialize
from pipeline.forecast import forecast
from pipeline.registry import STAGES
from pipeline.run import RunOptions, run_stage
from pipeline.status import stage_status
from slurm.task import EXIT_FAILED
from stages.baselines import registry, report, tasks
from stages.baselines.method import Floats, Method, Prefix, UnmetNeedError
from stages.experiment import Experiment
from stages.scoring import results
from storage_schema import schema, splits

ROOT = Path(__file__).parents[1]


@pytest.fixture
def experiment(smoke_experiment: Experiment) -> Experiment:
    return smoke_experiment


def test_too_few_observations_are_said_and_their_cells_are_empty(experiment: Experiment) -> None:
    opened = only(experiment, "LcSVR")
    assert run(opened, "baselines") == EXIT_DONE
    first, second, third = scores_of(opened, "LcSVR")
    assert np.isnan(first.scores).all()
    assert np.isnan(second.scores).all()
    assert np.isfinite(third.scores).any()
    lines = report.table(opened)
    (line,) = [each for each in lines if each.startswith("– LcSVR")]
    assert "at 3 mb" in line
    row = next(each for text in lines for each in text.splitlines() if each.startswith("| LcSVR"))
    assert [cell.strip() for cell in row.split("|")[2:4]] == ["–", "–"]


def test_constant_scores_have_no_tau(experiment: Experiment, register: None) -> None:
    registry.METHODS["same"] = plain("same", lambda prefix: np.ones(len(prefix.architectures)))
    opened = only(experiment, "same")
    assert run(opened, "baselines") == EXIT_DONE
    text = "\n".join(report.table(opened))
    assert re.search(r"\| same +\| +– \|", text)
    assert "– same: one score for all of trial 0: no order; one score for all of trial 1: no order" in text


def test_a_method_that_fails_leaves_the_others_and_the_table_names_it(
    experiment: Experiment, register: None
) -> None:
    def broken(prefix: Prefix) -> Floats:
        raise ZeroDivisionError("a mistake of ours")

    registry.METHODS["broken"] = plain("broken", broken)
    opened = only(experiment, "broken", "SoTL")
    everything = list(STAGES.values())
    assert show_run(opened, everything, None, RunOptions(cluster="inline"), as_json=True) == EXIT_FAILED
    assert stage_status(opened, STAGE).unfinished == tasks.indices(opened, ["broken"])
    assert stage_status(opened, STAGES["evaluate"]).unfinished == []
    text = (opened.layout.evaluation("in-domain") / "tau.md").read_text()
    assert "– broken: not scored" in text
    assert any(line.startswith("– broken: not scored") for line in report.table(opened))
    assert re.search(r"\| broken +\| +– \|", text)
    assert re.search(r"\| SoTL +\| +-?0\.\d", text)


def test_seconds_are_of_what_was_fitted(experiment: Experiment, register: None) -> None:
    """Fits that could not be neither count as fits of no time, nor show any."""

    def fit(train: Prefix, labels: Floats, seed: int) -> object:
        if train.training_loss.shape[1] < 9:
            raise UnmetNeedError("it needs 9 mini-batches")
        time.sleep(0.2)
        return lambda prefix: np.arange(len(prefix.architectures), dtype=float)

    def never(train: Prefix, labels: Floats, seed: int) -> object:
        raise UnmetNeedError("it needs what is nowhere")

    loss = frozenset({"training loss"})
    registry.METHODS["slow"] = Method(name="slow", kind="hybrid", fit=fit, source="test", needs=loss)  # type: ignore[arg-type]
    registry.METHODS["never"] = replace(registry.METHODS["slow"], name="never", fit=never)  # type: ignore[arg-type]
    opened = only(experiment, "slow", "never")
    run(opened, "baselines")
    (found,) = report.rows(opened)
    rows = {row["method"]: row for row in found["methods"]}
    assert rows["slow"]["fit_seconds"] >= 0.2
    assert rows["slow"]["labels"] == 10
    assert [rows["never"][name] for name in report.HEADINGS] == [None] * 5
    shown = "\n".join(report.table(opened))
    assert re.search(r"\| never +(\| +– ){8}\|", shown)
    assert "– never: at 3, 6, 9 mb: it needs what is nowhere" in shown
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_table_has_the_upper_half_and_the_sample(experiment: Experiment) -> None:
    opened = only(experiment, "SoTL")
    run(opened, "baselines")
    (found,) = report.rows(opened)
    labels = np.array([splits.read(opened.layout.split(0), 24).labels[i] for i in range(24)])
    tested = {i for trial in (0, 1) for i in splits.read(opened.layout.split(trial), 24).test}
    assert sorted(found["labels"]) == pytest.approx(sorted(labels[list(tested)]))
    taus = []
    for trial in (0, 1):
        split = splits.read(opened.layout.split(trial), 24)
        truth = np.array([split.labels[i] for i in split.test])
        (result,) = [r for r in results.of_trial(opened, "in-domain", trial) if r.method == "SoTL"]
        upper = truth >= np.median(truth)
        taus.append(kendalltau(result.scores[2][upper], truth[upper]).statistic)
    row = next(row for row in found["methods"] if row["method"] == "SoTL")
    assert row["tau_upper_half"][2] == pytest.approx(taus)
    text = "\n".join(report.table(opened))
    assert f"| {np.mean(taus):.3f} ± {np.std(taus, ddof=1):.3f} |" in text
    assert "upper half by accuracy" in text
    assert "| accuracy (%) " in text


def test_seconds_of_a_query_hold_the_trace_that_it_reads(experiment: Experiment) -> None:
    opened = only(experiment, "SoTL", "early stop")
    run(opened, "baselines")
    costs = report.Costs(opened)
    seconds = xr.open_zarr(opened.layout.dynamics)["seconds"].mean("architecture")
    training = float(seconds.sel(activity="training").sum())
    validation = float(
        seconds.sel(activity="validation", snapshot=[1, 2, 3]).sum()
    )  # the initial one is not read
    assert costs.measured(registry.METHODS["parameters"]) == 0
    assert costs.measured(registry.METHODS["SoTL"]) == pytest.approx(training, rel=1e-5)
    assert costs.measured(registry.METHODS["early stop"]) == pytest.approx(training + validation, rel=1e-5)
    assert costs.nominal(registry.METHODS["SoTL"]) == pytest.approx(0.81)


def test_the_table_has_the_seconds_to_each_snapshot_by_both_clocks(experiment: Experiment) -> None:
    opened = only(experiment, "SoTL")
    run(opened, "baselines")
    (found,) = report.rows(opened)
    seconds = xr.open_zarr(opened.layout.dynamics)["seconds"].mean("architecture").values
    training, validation = (
        seconds[:, list(schema.ACTIVITIES).index(name)] for name in ("training", "validation")
    )
    for k in (1, 2, 3):
        trained, validated = training[: k + 1].sum(), validation[1 : k + 1].sum()
        assert found["seconds"]["seconds of training"][k - 1] == pytest.approx(trained, rel=1e-5)
        assert found["seconds"]["seconds with validation"][k - 1] == pytest.approx(
            trained + validated, rel=1e-5
        )
    assert found["seconds"]["nominal seconds"] == pytest.approx([0.27, 0.54, 0.81])
    assert "| nominal seconds " in report.table(opened)[1]


def test_what_scores_are_to_be_read_with_is_said_below_both_tables(experiment: Experiment) -> None:
    opened = only(experiment, "SoTL", "SoTL-E", "early stop")
    run(opened, "cae", "embed", "bigru", "baselines", "evaluate")
    below = [each for each in report.table(opened) if each.startswith("early stop: at 3, 6, 9 mb: ")]
    assert "near chance" in below[0]
    tables = (opened.layout.evaluation("in-domain") / "tau.md").read_text().splitlines()
    assert set(below) < set(tables)
    (once,) = [line for line in report.table(opened) if line.startswith("– SoTL-E")]
    assert "at 3, 6, 9 mb: within the first epoch it is SoTL" in once
    assert once in tables


@pytest.mark.parametrize(
    ("name", "mini_batches", "said"),
    [
        ("SoTL", 1, False),
        ("early stop", 10, True),
        ("early stop", 20, True),
        ("early stop", 100, False),
        ("cell trees", 10, False),
    ],
)
def test_remarks_end_where_their_reason_does(name: str, mini_batches: int, said: bool) -> None:
    assert bool(registry.METHODS[name].remark(mini_batches)) == said


def test_what_has_to_be_done_first_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened = initialize(tmp_path / "e", "smoke", ())
    assert (
        show_run(opened, [STAGE], None, RunOptions(cluster="local", workers=2), as_json=False) == EXIT_FAILED
    )
    said = capsys.readouterr()
    assert (
        " ".join(said.err.split()).count("it needs split 0-1, which is not done; run --stage split first")
        == 1
    )
    assert "14 missing" in said.out


def test_a_method_without_a_single_score_says_so(experiment: Experiment, register: None) -> None:
    registry.METHODS["none"] = plain("none", lambda prefix: np.full(len(prefix.architectures), np.nan))
    opened = only(experiment, "none")
    run(opened, "baselines")
    text = "\n".join(report.table(opened))
    assert "– none: no network of trial 0 has a score; no network of trial 1 has a score" in text


def test_a_forecast_is_of_the_methods_that_are_left(experiment: Experiment, register: None) -> None:
    def slow(prefix: Prefix) -> Floats:
        time.sleep(1)
        return np.arange(len(prefix.architectures), dtype=float)

    registry.METHODS["slow"] = plain("slow", slow)
    opened = only(experiment, "slow")
    mine, others = tasks.indices(opened, ["slow"]), tasks.indices(opened, ["parameters"])
    run_stage(opened, STAGE, others, RunOptions(cluster="inline"), QUIET)
    assert not forecast(opened, STAGE, mine).measured
    run_stage(opened, STAGE, mine[:1], RunOptions(cluster="inline"), QUIET)
    expected = forecast(opened, STAGE, mine[1:])
    assert expected.measured
    assert expected.seconds >= 1
    assert forecast(opened, STAGE, others).seconds < expected.seconds
