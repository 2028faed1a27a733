"""Baselines that read curves: sums of losses, the last value, and extrapolations (R20, R21)."""

from __future__ import annotations

import copy
import importlib.util
import math
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.baselines.method import Floats, Method, Prefix, UnmetNeedError
from stages.baselines.methods import lc_pfn, lce_m
from stages.baselines.methods.early_stop import EARLY_STOP
from stages.baselines.methods.lc_pfn import LcPfnError, Shape
from stages.baselines.methods.lce_m import LCE_M, extrapolate
from stages.baselines.methods.sotl import GAMMA, SOTL, SOTL_E, SOTL_EMA, moving_sum, sum_of_last_epoch
from stages.search_spaces.nasbench201.space import NASBench201
from stages.search_spaces.space import ImageTask
from studies.curves_beside_last_value import Curves, taus

EPOCHS = np.arange(1.0, 21)
SPACE, TASK = NASBench201(4, 1), ImageTask(classes=10, image_size=8)


def prefix(losses: Any = None, accuracies: Any = None, epochs: Any = None, schedule: int = 200) -> Prefix:
    n = len(losses if losses is not None else accuracies)
    curves = np.empty((n, 0)) if accuracies is None else np.array(accuracies, np.float64)
    return Prefix(
        architectures=tuple(map(str, range(n))),
        space=SPACE,
        task=TASK,
        training_loss=np.empty((n, 0)) if losses is None else np.array(losses, np.float64),
        validation_accuracy=curves,
        epochs=np.arange(1.0, curves.shape[1] + 1) if epochs is None else np.array(epochs, np.float64),
        epoch_mini_batches=3,
        schedule_epochs=schedule,
    )


def scores(method: Method, asked: Prefix, seed: int = 0) -> Floats:
    return method.fit(asked, np.full(len(asked.architectures), np.nan), seed)(asked)


LOSSES = [[4.0, 3.0, 2.0, 1.0, 0.5], [4.0, 3.0, 2.5, 2.0, 1.0]]


def test_sums_are_those_counted_by_hand() -> None:
    asked = prefix(LOSSES)
    assert scores(SOTL, asked).tolist() == [-10.5, -12.5]
    assert scores(SOTL_E, asked).tolist() == [-3.5, -5.5]  # of the last three mini-batches
    assert moving_sum(asked, 0.5).tolist() == [-(3.5 + 3.5), -(5.5 + 3.5)]  # the two before count half
    np.testing.assert_allclose(scores(SOTL_EMA, asked), [-(3.5 + GAMMA * 7), -(5.5 + GAMMA * 7)], rtol=1e-15)


@pytest.mark.parametrize("mini_batches", [1, 2, 3])
def test_up_to_an_epoch_the_three_sums_are_one_number_and_one_row(mini_batches: int) -> None:
    asked = prefix(np.array(LOSSES)[:, :mini_batches])
    assert scores(SOTL, asked).tolist() == sum_of_last_epoch(asked).tolist() == moving_sum(asked).tolist()
    for method in (SOTL_E, SOTL_EMA):
        with pytest.raises(UnmetNeedError, match="it is SoTL"):
            scores(method, asked)


def test_beyond_an_epoch_the_sums_differ() -> None:
    asked = prefix(np.array(LOSSES)[:, :4])
    assert len({tuple(scores(method, asked)) for method in (SOTL, SOTL_E, SOTL_EMA)}) == 3


@pytest.mark.parametrize("method", [SOTL, SOTL_E, SOTL_EMA])
@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_diverged_network_has_no_score_and_the_other_keeps_its_own(method: Method, loss: float) -> None:
    losses = np.array(LOSSES)
    losses[0, 3:] = loss
    found = scores(method, prefix(losses))
    assert math.isnan(found[0])
    assert found[1] == scores(method, prefix(LOSSES))[1]


@pytest.mark.parametrize("method", [SOTL, SOTL_E, SOTL_EMA])
def test_sums_need_a_mini_batch(method: Method) -> None:
    with pytest.raises(UnmetNeedError, match="ask for a later snapshot"):
        scores(method, prefix(accuracies=[[0.1]]))


def test_early_stop_is_the_last_accuracy() -> None:
    found = scores(EARLY_STOP, prefix(accuracies=[[0.5, 0.2], [0.1, math.nan], [math.nan, 0.3]]))
    np.testing.assert_array_equal(found, [0.2, math.nan, 0.3])


@pytest.mark.parametrize("method", [EARLY_STOP, LCE_M])
@pytest.mark.parametrize("accuracies", [np.empty((2, 0)), [[math.nan], [math.nan]]])
def test_curves_need_an_observation(method: Method, accuracies: Any) -> None:
    with pytest.raises(UnmetNeedError, match="no validation accuracy was observed"):
        scores(method, prefix(accuracies=accuracies))


def test_scores_do_not_alias_the_prefix() -> None:
    asked = prefix(accuracies=[[0.5, 0.2]])
    scores(EARLY_STOP, asked)[:] = 9
    assert asked.validation_accuracy.tolist() == [[0.5, 0.2]]


FAMILIES: dict[str, Callable[[Floats], Floats]] = {
    "mmf": lambda x: 0.85 - (0.85 - 0.2) / (1 + (0.15 * x) ** 1.2),
    "log-log-linear": lambda x: np.log(0.12 * np.log(x) + 1.5),
    "hill": lambda x: 0.9 * x**0.7 / (3**0.7 + x**0.7),
    "log-power": lambda x: 0.8 / (1 + (x / math.exp(1.5)) ** -0.9),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_lce_m_continues_a_curve_of_each_family(family: str) -> None:
    curve = FAMILIES[family]
    noise = np.random.default_rng(0).normal(0, 0.002, len(EPOCHS))
    found = extrapolate(EPOCHS, curve(EPOCHS) + noise, 201.0, seed=0)
    truth = float(curve(np.array([201.0]))[0])
    assert found is not None
    assert abs(found - truth) < 0.03 < abs(curve(EPOCHS)[-1] - truth)


def test_lce_m_continues_curves_observed_within_the_first_epoch() -> None:
    epochs = np.linspace(0.1, 4, 20)  # where ln x is negative at first
    curve = FAMILIES["hill"]
    found = extrapolate(epochs, curve(epochs), 201.0, seed=0)
    assert found is not None
    assert abs(found - float(curve(np.array([201.0]))[0])) < 0.05


def test_lce_m_leaves_a_flat_curve_flat() -> None:
    assert extrapolate(EPOCHS, np.full(20, 0.1), 201.0, seed=0) == pytest.approx(0.1, abs=0.02)


def test_lce_m_is_of_the_curve_and_the_seed_alone() -> None:
    generator = np.random.default_rng(1)
    curves = np.array([curve(EPOCHS[:8]) for curve in list(FAMILIES.values())[:2]])
    asked = prefix(accuracies=curves + generator.normal(0, 0.01, curves.shape))
    state = np.random.get_state()[1].tolist()  # noqa: NPY002 -- the global one, which has to stay as it is
    found = scores(LCE_M, asked, seed=3)
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002 -- nor does it matter
    turned = replace(asked, validation_accuracy=asked.validation_accuracy[::-1])
    assert scores(LCE_M, turned, seed=3).tolist() == found[::-1].tolist()
    one = replace(asked, architectures=("0",), validation_accuracy=asked.validation_accuracy[:1])
    assert scores(LCE_M, one, seed=3)[0] == found[0] != scores(LCE_M, one, seed=4)[0]


def test_lce_m_gives_the_last_value_where_observations_are_few() -> None:
    accuracies = [[0.1, 0.3, 0.4], [0.1, math.nan, 0.5], [0.1, 0.3, math.nan]]
    found = scores(LCE_M, prefix(accuracies=accuracies, epochs=[0, 1, 2]))  # the first is before training
    np.testing.assert_array_equal(found, [0.4, 0.5, math.nan])


def test_lce_m_gives_the_last_value_where_sampling_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lce_m, "_log_probability", lambda theta, *_: np.full(len(theta), -np.inf))
    assert scores(LCE_M, prefix(accuracies=[[0.1, 0.3, 0.4, 0.6]])).tolist() == [0.6]


def test_lce_m_orders_real_curves_beside_their_last_value(
    shared_data: Path, figure: Callable[[str], None]
) -> None:
    curves = Curves.read(shared_data / "learning_curves.npz")
    some = Curves(curves.architectures[::5], curves.accuracies[::5])
    found, last = taus(LCE_M, some, 20)[0], taus(EARLY_STOP, some, 20)[0]
    figure(f"20 real curves after 20 of 200 epochs: tau of LCE-m {found:.2f}, of their last value {last:.2f}")
    assert found > max(0.3, last - 0.15)


def test_listing_curve_methods_imports_nothing_slow() -> None:
    code = (
        "import sys; from stages.baselines.methods import early_stop, lc_pfn, lce_m, sotl\n"
        "lc_pfn.lc_pfn(None)\n"
        "print([name for name in ('torch', 'scipy', 'emcee', 'lcpfn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_lc_pfn_without_its_package_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lcpfn", None)
    with pytest.raises(LcPfnError, match=r"needs the package lcpfn .*; run `.*--no-deps .*lcpfn") as caught:
        scores(lc_pfn.lc_pfn(None), prefix(accuracies=[[0.5]]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", [{"embedding": 64}, {"layers": 0}, {"bars": 1}, {"epochs": 1 << 20}])
def test_lc_pfn_has_no_impossible_shape(field: dict[str, int]) -> None:
    with pytest.raises(LcPfnError, match=f"{next(iter(field))} = "):
        Shape(**field)


@pytest.fixture(scope="module")
def trained() -> Any:
    """A small network that has learned the prior's curves of which five epochs are known, in seconds."""
    if importlib.util.find_spec("lcpfn") is None:
        pytest.skip(f"lcpfn is not installed ({lc_pfn.INSTALL})")
    from studies.lc_pfn_on_prior import train

    return train(150, known=(5, 5))


SMALL = Shape(embedding=128, layers=2, bars=100)
RISING = prefix(accuracies=[[0.2, 0.3, 0.35, 0.4, 0.42], [0.1, 0.1, 0.1, 0.1, math.nan]], schedule=100)


def test_lc_pfn_extrapolates_its_prior_better_than_the_last_value(
    trained: Any, figure: Callable[[str], None]
) -> None:
    from studies.lc_pfn_on_prior import draw, errors

    found = errors(trained, 5, *draw(1000, 2**31))
    figure(
        ", ".join(f"{name} {values.mean():.4f}" for name, values in found.items()) + " off, prior's curves"
    )
    assert found["LC-PFN"].mean() < found["last value"].mean()


def test_lc_pfn_is_read_as_it_was_written(trained: Any, tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    lc_pfn.save(path, trained, SMALL)
    found = scores(lc_pfn.lc_pfn(path), RISING)
    expected = lc_pfn.expected(trained, np.arange(1.0, 6), RISING.validation_accuracy[:1], np.array([100.0]))
    assert found[0] == expected[0, 0]
    assert math.isnan(found[1])


def test_lc_pfn_unpickles_a_whole_module_only_where_it_is_trusted(trained: Any, tmp_path: Path) -> None:
    import lcpfn.layer
    import torch

    path = tmp_path / "published.pt"
    whole = copy.deepcopy(trained)
    for layer in whole.transformer_encoder.layers:
        layer.__class__ = lcpfn.layer.TransformerEncoderLayer  # as its authors' file has it
    torch.save(whole, path)
    with pytest.raises(LcPfnError, match="is a pickle, which may run any code"):
        scores(lc_pfn.lc_pfn(path), RISING)
    with pytest.warns(UserWarning, match="which runs the code in it"):
        found = scores(lc_pfn.lc_pfn(path, trust_pickle=True), RISING)
    lc_pfn.save(tmp_path / "small.safetensors", trained, SMALL)
    np.testing.assert_array_equal(found, scores(lc_pfn.lc_pfn(tmp_path / "small.safetensors"), RISING))


@pytest.mark.parametrize("content", [b"", b"no weights at all"])
@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
def test_lc_pfn_says_so_of_a_file_that_is_no_weights(
    trained: Any, tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(LcPfnError, match=name):
            scores(lc_pfn.lc_pfn(path, trust_pickle=True), RISING)


def test_lc_pfn_says_so_of_weights_that_are_not_there(trained: Any, tmp_path: Path) -> None:
    with pytest.raises(LcPfnError, match="has no weights; name the file"):
        scores(lc_pfn.lc_pfn(None), RISING)
    with pytest.raises(LcPfnError, match="is not there"):
        scores(lc_pfn.lc_pfn(tmp_path / "none.safetensors"), RISING)


def test_meeting_lcpfn_leaves_no_trace(trained: Any) -> None:
    import lcpfn.layer

    before = list(sys.path), set(vars(lcpfn.layer))
    lc_pfn.build(SMALL)
    assert (list(sys.path), set(vars(lcpfn.layer))) == before
    assert not any(Path(folder).name == "lcpfn" for folder in sys.path)


def test_lc_pfn_gives_the_last_value_under_five_observations(trained: Any, tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    lc_pfn.save(path, trained, SMALL)
    few = prefix(accuracies=[[0.9, 0.2, 0.3, 0.35, 0.4]], epochs=[0, 1, 2, 3, 4])
    assert scores(lc_pfn.lc_pfn(path), few).tolist() == [0.4]
