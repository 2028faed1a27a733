"""Learned hybrids: what they read, that nothing leaks, and that they learn what the published tables hold."""

from __future__ import annotations

import csv
import gzip
import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.baselines.method import Floats, Method, Prefix, Scorer, UnmetNeedError
from stages.baselines.methods.lcsvr import LCSVR, curve_features
from stages.baselines.methods.omni_ngb import OMNI_NGB, omni_features
from stages.baselines.methods.omni_seminas import OMNI_SEMINAS, Bins
from stages.baselines.methods.seminas import SEMINAS, random_architectures
from stages.baselines.methods.seminas_network import Rounds
from stages.baselines.methods.sequences import (
    NOTHING,
    Code,
    SequenceError,
    sequences_of,
)
from stages.baselines.methods.sotl import sum_of_last_epoch
from stages.labels.config import LabelsConfig
from stages.labels.table import read_table
from stages.scoring.metrics import interval, kendall, resample_counts, resampled_kendall
from stages.search_spaces.errors import SpaceError
from stages.search_spaces.nasbench101.cell import FORM, graph_of_matrix
from stages.search_spaces.nasbench201.genotype import NUM_GENOTYPES, Genotype, GenotypeError, all_genotypes
from stages.search_spaces.nasbench201.layers import parameters
from stages.search_spaces.nasbench201.space import NASBench201
from stages.search_spaces.space import ImageTask

SPACE, TASK = NASBench201(16, 5), ImageTask(classes=10, image_size=32)
SHAPE = SPACE.shape(TASK)
SHORT = Rounds(first=2, second=1, up_sampling=2)
MINI_BATCHES = 12


def prefix_of(architectures: list[str], seed: int = 0) -> Prefix:
    """Networks whose loss falls, and whose accuracy rises, the faster the more convolutions they have."""
    random = np.random.default_rng(seed)
    skill = np.array([text.count("conv") for text in architectures])[:, None] / 6
    curves = 0.1 + 0.8 * skill * (1 - 0.5 ** np.arange(5)) + random.normal(0, 0.01, (len(architectures), 5))
    losses = 2.3 - skill * np.linspace(0, 2, MINI_BATCHES)
    return Prefix(
        architectures=tuple(architectures),
        space=SPACE,
        task=TASK,
        training_loss=losses + random.normal(0, 0.01, losses.shape),
        validation_accuracy=curves,
        epochs=np.arange(5.0),
        epoch_mini_batches=4,
        schedule_epochs=20,
        zero_cost={"jacov": random.normal(-300, 20, len(architectures)) + 30 * skill[:, 0]},
    )


def rows_of(prefix: Prefix, rows: list[int]) -> Prefix:
    return replace(
        prefix,
        architectures=tuple(prefix.architectures[row] for row in rows),
        training_loss=prefix.training_loss[rows],
        validation_accuracy=prefix.validation_accuracy[rows],
        zero_cost={name: values[rows] for name, values in prefix.zero_cost.items()},
    )


def some_cells(n: int, seed: int = 0) -> list[str]:
    numbers = np.random.default_rng(seed).permutation(NUM_GENOTYPES)[:n]
    return [str(Genotype.from_number(int(number))) for number in numbers]


ALL = prefix_of(some_cells(60))
TRAIN, TEST = rows_of(ALL, list(range(40))), rows_of(ALL, list(range(40, 60)))
LABELS = np.array(
    [0.1 + 0.14 * text.count("conv") + 0.01 * text.count("skip") for text in TRAIN.architectures]
)

METHODS = {
    "LcSVR": (LCSVR, {"draws": 30}),
    "SemiNAS": (SEMINAS, {"rounds": SHORT}),
    "Omni-SemiNAS": (OMNI_SEMINAS, {"rounds": SHORT}),
    "Omni-NGB": (OMNI_NGB, {"draws": 4, "trees": (20, 40)}),
}
"""Each with settings that take moments."""


def fit(name: str, train: Prefix = TRAIN, labels: Floats = LABELS, seed: int = 1) -> Scorer:
    method, quick = METHODS[name]
    return method.fit(train, labels, seed, **quick)  # type: ignore[call-arg]


@pytest.fixture(scope="module")
def fitted() -> dict[str, tuple[Scorer, Floats]]:
    scorers = {name: fit(name) for name in METHODS}
    return {name: (score, score(TEST)) for name, score in scorers.items()}


# Protocol


@pytest.mark.parametrize("name", METHODS)
def test_the_method_says_what_it_is(name: str) -> None:
    method: Method = METHODS[name][0]
    assert method.name == name
    assert method.learned
    assert method.package == ("ngboost" if name == "Omni-NGB" else None)
    assert method.follows_trace == (name != "SemiNAS")


def test_slow_libraries_wait_until_something_is_fitted() -> None:
    code = (
        "import sys; from stages.baselines.methods import lcsvr, omni_ngb, omni_seminas, seminas; "
        "sys.exit(bool({'sklearn', 'scipy', 'torch', 'ngboost'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


@pytest.mark.parametrize("name", METHODS)
def test_equal_input_gives_equal_scores(name: str, fitted: dict[str, tuple[Scorer, Floats]]) -> None:
    scores = fitted[name][1]
    assert scores.shape == (20,)
    assert scores.dtype == np.float64
    np.testing.assert_array_equal(fit(name)(TEST), scores)


@pytest.mark.parametrize("name", METHODS)
def test_another_seed_gives_other_scores(name: str, fitted: dict[str, tuple[Scorer, Floats]]) -> None:
    assert (fit(name, seed=2)(TEST) != fitted[name][1]).any()


@pytest.mark.parametrize("name", METHODS)
def test_global_generators_and_threads_stay_as_they_are(name: str) -> None:
    def state() -> tuple[object, ...]:
        return torch.get_rng_state().tolist(), str(np.random.get_state()), torch.get_num_threads()  # noqa: NPY002

    before = state()
    fit(name)(TEST)
    assert state() == before


@pytest.mark.parametrize("name", METHODS)
def test_scores_do_not_depend_on_global_generators(
    name: str, fitted: dict[str, tuple[Scorer, Floats]]
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        kept = np.random.get_state()  # noqa: NPY002
        np.random.seed(99)  # noqa: NPY002
        scores = fit(name)(TEST)
        np.random.set_state(kept)  # noqa: NPY002
    np.testing.assert_array_equal(scores, fitted[name][1])


@pytest.mark.parametrize("name", METHODS)
def test_a_score_does_not_depend_on_what_is_tested_beside(
    name: str, fitted: dict[str, tuple[Scorer, Floats]]
) -> None:
    score, scores = fitted[name]
    order = np.random.default_rng(0).permutation(20).tolist()
    np.testing.assert_array_equal(score(rows_of(TEST, order)), scores[order])
    np.testing.assert_array_equal(score(rows_of(TEST, [3])), scores[[3]])
    extreme = replace(
        TEST,
        training_loss=1e3 * TEST.training_loss,
        validation_accuracy=1e3 * TEST.validation_accuracy,
        zero_cost={"jacov": 1e3 * TEST.zero_cost["jacov"]},
    )
    score(extreme)  # a scorer that learnt from what it is shown would have changed now
    np.testing.assert_array_equal(score(TEST), scores)


@pytest.mark.parametrize("name", METHODS)
def test_training_architectures_and_labels_are_not_written_to(name: str) -> None:
    train = rows_of(TRAIN, list(range(len(LABELS))))
    labels = LABELS.copy()
    for array in (train.training_loss, train.validation_accuracy, train.zero_cost["jacov"], labels):
        array.flags.writeable = False
    fit(name, train, labels)


@pytest.mark.parametrize("name", ["LcSVR", "Omni-NGB"])
def test_what_curves_tell_is_learnt(name: str, fitted: dict[str, tuple[Scorer, Floats]]) -> None:
    truth = np.array([text.count("conv") for text in TEST.architectures], dtype=np.float64)
    assert kendall(fitted[name][1], truth) > 0.6


@pytest.mark.parametrize("name", ["Omni-SemiNAS", "Omni-NGB"])
def test_without_the_proxy_or_a_mini_batch_the_need_is_unmet(name: str) -> None:
    with pytest.raises(UnmetNeedError, match="jacov"):
        fit(name, replace(TRAIN, zero_cost={}))
    with pytest.raises(UnmetNeedError, match="no training loss"):
        fit(name, replace(TRAIN, training_loss=TRAIN.training_loss[:, :0]))


@pytest.mark.parametrize("name", ["Omni-SemiNAS", "Omni-NGB"])
def test_networks_that_diverged_have_scores(name: str) -> None:
    """They are scored as the worst of what was measured, and by their cells."""
    train, test = rows_of(TRAIN, list(range(40))), rows_of(TEST, list(range(20)))
    for prefix in (train, test):
        prefix.training_loss[:5, -1] = np.nan
        prefix.zero_cost["jacov"][3:7] = np.nan
        prefix.zero_cost["jacov"][8] = -np.inf
    assert np.isfinite(fit(name, train)(test)).all()


@pytest.mark.parametrize("name", METHODS)
def test_equal_labels_are_fitted_without_an_error(name: str) -> None:
    assert np.isfinite(fit(name, labels=np.full(40, 0.5))(TEST)).all()


@pytest.mark.parametrize("name", METHODS)
def test_only_the_order_of_labels_counts(name: str, fitted: dict[str, tuple[Scorer, Floats]]) -> None:
    np.testing.assert_array_equal(fit(name, labels=np.exp(5 * LABELS))(TEST), fitted[name][1])


# LcSVR


def test_six_features_by_hand() -> None:
    features = curve_features(np.array([[0.1, 0.5, 0.6, 0.8]]))
    first, second = [0.4, 0.1, 0.2], [-0.3, 0.1]
    expected = [
        0.5,
        np.std([0.1, 0.5, 0.6, 0.8]),
        np.mean(first),
        np.std(first),
        np.mean(second),
        np.std(second),
    ]
    np.testing.assert_allclose(features, [expected])


def test_two_observations_are_too_few() -> None:
    with pytest.raises(UnmetNeedError, match=r"needs 3 observations .* has 2"):
        fit("LcSVR", replace(TRAIN, validation_accuracy=TRAIN.validation_accuracy[:, :2]))
    three = replace(TRAIN, validation_accuracy=TRAIN.validation_accuracy[:, :3])
    assert np.isfinite(
        fit("LcSVR", three)(replace(TEST, validation_accuracy=TEST.validation_accuracy[:, :3]))
    ).all()


def test_diverged_curves_neither_teach_nor_score() -> None:
    train, test = rows_of(TRAIN, list(range(40))), rows_of(TEST, list(range(20)))
    train.validation_accuracy[5, -1] = np.nan
    test.validation_accuracy[2, 1] = np.nan
    without = [row for row in range(40) if row != 5]
    scores = fit("LcSVR", train)(test)
    assert np.isnan(scores[2])
    kept = np.arange(20) != 2
    np.testing.assert_array_equal(
        scores[kept], fit("LcSVR", rows_of(TRAIN, without), LABELS[without])(TEST)[kept]
    )
    test.validation_accuracy[:] = np.nan
    assert np.isnan(fit("LcSVR")(test)).all()
    train.validation_accuracy[:35] = np.nan
    with pytest.raises(UnmetNeedError, match="needs 6 training curves, there are 5"):
        fit("LcSVR", train)


def test_the_unit_of_accuracies_does_not_matter() -> None:
    percent = [replace(part, validation_accuracy=100 * part.validation_accuracy) for part in (TRAIN, TEST)]
    scores = fit("LcSVR", percent[0])(percent[1])
    np.testing.assert_allclose(scores, fit("LcSVR")(TEST), rtol=1e-2)


# Sequences

NAS_BENCH_101, NAS_BENCH_201 = Code(FORM), Code(SPACE.cell_form)


def cells(*architectures: str) -> Prefix:
    return replace(TRAIN, architectures=architectures)


def test_lengths_and_vocabularies_are_the_published_ones() -> None:
    assert (NAS_BENCH_201.length, NAS_BENCH_201.vocabulary) == (35, 9)
    assert (NAS_BENCH_101.length, NAS_BENCH_101.vocabulary) == (27, 7)


def test_a_cell_written_by_hand() -> None:
    """Edges 1<-0, 2<-0 and 3<-0 start at the input; 2<-1 and 3<-1 follow 1<-0; 3<-2 follows both into node 2."""
    text = "|none~0|+|skip_connect~0|nor_conv_1x1~1|+|nor_conv_3x3~0|avg_pool_3x3~1|none~2|"
    vertices = (
        (2, 3),
        (2, 1, 4),
        (1, 2, 1, 5),
        (2, 1, 1, 1, 6),
        (1, 2, 1, 1, 1, 7),
        (1, 1, 2, 2, 1, 1, 3),
        (1, 1, 1, 1, 2, 2, 2, 8),
    )
    assert sequences_of(cells(text)).tolist() == [[token for vertex in vertices for token in vertex]]


def test_every_nas_bench_201_cell_comes_back() -> None:
    seen = set()
    for genotype in all_genotypes():
        sequence = NAS_BENCH_201.encode(SPACE.graph(str(genotype)))
        assert NAS_BENCH_201.decode(sequence) == SPACE.graph(str(genotype))
        seen.add(sequence)
    assert len(seen) == NUM_GENOTYPES
    assert {token for sequence in seen for token in sequence} == set(range(1, 9))


def test_every_nas_bench_101_cell_of_the_sample_comes_back(shared_data: Path) -> None:
    with gzip.open(shared_data / "nasbench101.csv.gz", "rt", encoding="utf-8") as file:
        # The table has lost the first digit, which is 0 always: no vertex leads to itself.
        cells = [(row["matrix_7x7"].zfill(49), row["ops"]) for row in csv.DictReader(file)]
    seen = set()
    for digits, operations in cells:
        graph = graph_of_matrix(digits, operations)
        sequence = NAS_BENCH_101.encode(graph)
        back = NAS_BENCH_101.decode(sequence)
        assert "".join(str(int(edge)) for row in back.edges for edge in row) == digits
        assert "|".join(back.operations) == operations
        seen.add(sequence)
    assert len(seen) == len(cells) == 250


def test_a_cell_of_fewer_vertices_is_padded_and_comes_back() -> None:
    graph = graph_of_matrix("011001000", "input|maxpool3x3|output")
    sequence = NAS_BENCH_101.encode(graph)
    assert sequence == (2, 5, 2, 2, 6) + (NOTHING,) * 22
    assert NAS_BENCH_101.decode(sequence) == graph


def test_what_is_no_cell_is_refused() -> None:
    good = NAS_BENCH_201.encode(SPACE.graph(SPACE.architecture(7)))
    for wrong in (good[:-1], (NOTHING, *good[1:]), (good[0], 9, *good[2:]), (good[0], 2, *good[2:])):
        with pytest.raises(SequenceError):
            NAS_BENCH_201.decode(wrong)
    with pytest.raises(SpaceError, match="backwards"):
        graph_of_matrix("0100", "input|output") and graph_of_matrix("0010", "input|output")
    with pytest.raises(SpaceError, match="9 digits"):
        graph_of_matrix("0100", "input|maxpool3x3|output")
    with pytest.raises(SpaceError, match="'output' last"):
        graph_of_matrix("0100", "input|maxpool3x3")
    with pytest.raises(SequenceError, match="unknown operation 'conv'"):
        NAS_BENCH_101.encode(graph_of_matrix("011001000", "input|conv|output"))
    with pytest.raises(SequenceError, match="8 vertices; the space has 7"):
        NAS_BENCH_101.encode(SPACE.graph(SPACE.architecture(7)))
    with pytest.raises(GenotypeError, match="malformed"):
        sequences_of(cells("|none~0|"))
    assert sequences_of(cells()).shape == (0, 35)


# SemiNAS and Omni


def test_synthetic_architectures_are_others_of_the_space() -> None:
    known = some_cells(700)
    drawn = random_architectures(SPACE, 700, known, seed=3)
    assert len(set(drawn)) == 700
    assert not set(drawn) & set(known)
    assert (
        drawn
        == random_architectures(SPACE, 700, known, seed=3)
        != random_architectures(SPACE, 700, known, seed=4)
    )
    everything = [str(genotype) for genotype in all_genotypes()]
    assert random_architectures(SPACE, 5, everything[1:], seed=0) == everything[:1]


def test_losses_of_the_last_epoch_are_summed() -> None:
    losses = np.arange(24.0).reshape(2, 12)
    losses[1, 10] = np.nan
    of_four = replace(rows_of(TRAIN, [0, 1]), training_loss=losses)
    np.testing.assert_array_equal(sum_of_last_epoch(of_four), [-(8 + 9 + 10 + 11), np.nan])
    of_more = replace(of_four, epoch_mini_batches=100)
    np.testing.assert_array_equal(sum_of_last_epoch(of_more), [-sum(range(12)), np.nan])


def test_bins_are_cut_at_training_quantiles_and_the_worst_is_the_lowest() -> None:
    bins = Bins.of(np.array([0.0, 1, 2, 3, 4, np.nan, -np.inf]), 4, first=9)
    assert bins.edges.tolist() == [1, 2, 3]
    tokens = bins.tokens(np.array([np.nan, -np.inf, 0.5, 1, 2.5, 99]))
    assert tokens.argmax(axis=1).tolist() == [0, 0, 0, 1, 2, 3]
    assert set(tokens.flatten().tolist()) == {9, 10}
    assert Bins.of(np.full(3, np.nan), 4, first=9).tokens(np.array([np.nan])).tolist() == [[10, 9, 9, 9]]


def test_what_was_measured_follows_the_cells_tokens() -> None:
    """40 labels: 4 bins of the proxy, 8 of losses, tokens 9-10 and 11-12."""
    seen = []
    network = importlib.import_module("stages.baselines.methods.seminas_network")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "fit", lambda *arguments: seen.append(arguments))
        fit("Omni-SemiNAS")
    sequences, _, synthetic, vocabulary, *_ = seen[0]
    assert sequences.shape == (40, 35 + 4 + 8)
    np.testing.assert_array_equal(sequences[:, :35], sequences_of(TRAIN))
    assert ((sequences[:, 35:39] == 10).sum(axis=1) == 1).all()
    assert ((sequences[:, 39:] == 12).sum(axis=1) == 1).all()
    assert ((sequences[:, 39:] == 12).sum(axis=0) == 5).all()
    assert (len(synthetic), vocabulary) == (0, 13)


def test_too_few_labels_for_folds() -> None:
    with pytest.raises(UnmetNeedError, match="needs 6 labels, there are 5"):
        fit("Omni-NGB", rows_of(TRAIN, list(range(5))), LABELS[:5])
    assert np.isfinite(fit("Omni-NGB", rows_of(TRAIN, list(range(6))), LABELS[:6])(TEST)).all()


def test_boosting_with_a_plain_normal_is_ngboost_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same boosting steps, scales and predictions as with the library's own distribution, which is slower."""
    from ngboost.distns import Normal

    from stages.baselines.methods import boosting

    features, targets = omni_features(TRAIN), np.argsort(np.argsort(LABELS)) / len(LABELS)
    settings = {
        "tree": {"max_depth": 6, "max_features": 0.7},
        "boosting": {"n_estimators": 60, "learning_rate": 0.3, "minibatch_frac": 0.6},
    }
    ours = boosting.boost(features, targets, 3, **settings)
    monkeypatch.setattr(boosting, "PlainNormal", Normal)
    theirs = boosting.boost(features, targets, 3, **settings)
    assert len(set(ours.scalings)) > 1
    assert ours.scalings == theirs.scalings
    tested = omni_features(TEST)
    for parameter in ("loc", "scale"):
        np.testing.assert_allclose(
            ours.pred_dist(tested).params[parameter], theirs.pred_dist(tested).params[parameter], rtol=1e-12
        )
    np.testing.assert_allclose(ours.predict(tested), theirs.predict(tested), rtol=1e-12)


# Real curves and tables; the full figures are those of studies/lcsvr_beside_last_value.py and
# hybrids_beside_parameters.py


def curves(shared_data: Path) -> tuple[list[str], Floats]:
    with np.load(shared_data / "learning_curves.npz") as file:
        return file["arch_str"].tolist(), file["val_acc"].astype(np.float64) / 100


def split_of_curves(shared_data: Path, epochs: int, seed: int) -> tuple[Prefix, Floats, Prefix, Floats]:
    names, values = curves(shared_data)
    rows = np.random.default_rng(seed).permutation(len(names))
    known = replace(
        prefix_of(names), validation_accuracy=values[:, :epochs], epochs=np.arange(1.0, 1 + epochs)
    )
    train, test = rows[:60].tolist(), rows[60:].tolist()
    return rows_of(known, train), values[train, -1], rows_of(known, test), values[test, -1]


def test_lcsvr_beats_the_last_value_of_real_curves_after_ten_epochs(shared_data: Path) -> None:
    better = []
    for seed in range(4):
        train, labels, test, truth = split_of_curves(shared_data, 10, seed)
        score = LCSVR.fit(train, labels, seed, draws=100)  # type: ignore[call-arg]
        better.append(kendall(score(test), truth) - kendall(test.validation_accuracy[:, -1], truth))
    assert np.mean(better) > 0


def test_lcsvr_learns_nothing_from_permuted_labels_of_real_curves(shared_data: Path) -> None:
    found = []
    for seed in range(12):
        train, labels, test, truth = split_of_curves(shared_data, 100, seed)
        shuffled = np.random.default_rng(100 + seed).permutation(labels)
        found.append(kendall(LCSVR.fit(train, shuffled, seed, draws=20)(test), truth))  # type: ignore[call-arg]
    assert abs(np.mean(found)) < 3 * np.std(found, ddof=1) / np.sqrt(len(found))


@pytest.mark.parametrize("name", ["SemiNAS", "Omni-SemiNAS", "Omni-NGB"])
def test_permuted_labels_teach_nothing(name: str) -> None:
    """A single order may agree with the truth by chance, and what is fitted exaggerates it: many orders cannot."""
    truth = np.array([text.count("conv") for text in TEST.architectures], dtype=np.float64)
    orders = np.random.default_rng(0)
    found = [
        kendall(fit(name, labels=orders.permutation(LABELS), seed=seed)(TEST), truth) for seed in range(12)
    ]
    known = np.nan_to_num(found)  # no two scores differ: nothing learnt
    assert abs(known.mean()) < 3 * known.std(ddof=1) / np.sqrt(len(known))


@pytest.mark.slow
def test_seminas_orders_better_than_parameter_count(shared_data: Path) -> None:
    """200 labels, 1,000 others, paired 95 % interval above 0, with a fraction of the published epochs."""
    path = str(shared_data / "nasbench201.csv.gz")
    table = read_table(LabelsConfig(source="table", table=path, column="cifar10_test"))
    drawn = np.random.default_rng(0).permutation(np.array(list(table))).tolist()[:1200]
    labels = np.array([table[name] for name in drawn])
    train, test = (prefix_of(part) for part in (drawn[:200], drawn[200:]))
    scores = SEMINAS.fit(train, labels[:200], 0, rounds=Rounds(first=20, second=0))(test)  # type: ignore[call-arg]
    count = np.array([parameters(Genotype.parse(name), SHAPE) for name in drawn[200:]], dtype=np.float64)
    counts = resample_counts(1000, 500, np.random.default_rng(0))
    ours, theirs = (resampled_kendall(values, labels[200:], counts) for values in (scores, count))
    assert interval(ours - theirs)[0] > 0
