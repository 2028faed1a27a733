"""The twelve statistics against a plain loop over units (R5-R8), and what the recorder relies on (R4)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor

from reference_statistics import network_statistics
from stages.recording.statistics import StatisticsPlan, statistics
from stages.recording.units import sampled_units
from storage_schema.schema import FEATURES

SHAPED = [FEATURES.index("skewness"), FEATURES.index("kurtosis")]
SQUARED = [FEATURES.index("variance"), FEATURES.index("covariance")]
OPERATIONS = (0, 0, 0, 1, 3)  # Kernel of an edge: none, skip and pooling have no weight.


def compute(layers: Sequence[Tensor]) -> npt.NDArray[np.float64]:
    """Our statistics of these layers as an array."""
    return statistics(layers, StatisticsPlan.of(layers)).numpy()


def assert_as_reference(layers: Sequence[Tensor]) -> None:
    """Agreement to rtol 1e-6 (R7); where values cancel, to rounding relative to the layer's largest value."""
    ours, expected = compute(layers), network_statistics([layer.numpy() for layer in layers])
    assert ours.shape == expected.shape == (len(layers), 100, 12)
    for index, (mine, reference, layer) in enumerate(zip(ours, expected, layers, strict=True)):
        scale = float(np.nan_to_num(np.abs(layer.numpy().astype(np.float64))).max())
        tolerance = np.full(12, 1e-12 * scale)
        tolerance[SQUARED] = 1e-15 * scale**2
        tolerance[SHAPED] = 1e-8
        for column, name in enumerate(FEATURES):
            np.testing.assert_allclose(
                mine[:, column],
                reference[:, column],
                1e-6,
                tolerance[column],
                err_msg=f"layer {index}, {name}",
            )


def network_shapes(seed: int, channels: int = 16, cells: int = 1) -> list[tuple[int, ...]]:
    """Weight shapes of a random NAS-Bench-201 network."""
    draw = random.Random(seed)
    kernels = [kernel for kernel in (draw.choice(OPERATIONS) for _ in range(6)) if kernel]
    shapes: list[tuple[int, ...]] = [(channels, 3, 3, 3)]
    for width in (channels, 2 * channels, 4 * channels):
        if width > channels:
            shapes += [(width, width // 2, 3, 3), (width, width, 3, 3), (width, width // 2, 1, 1)]
        shapes += [(width, width, kernel, kernel) for _ in range(cells) for kernel in kernels]
    return [*shapes, (10, 4 * channels)]


def random_layers(shapes: Sequence[tuple[int, ...]], seed: int, scale: float = 1.0) -> list[Tensor]:
    """Layers of normal values whose spread differs from unit to unit."""
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for shape in shapes:
        spread = torch.empty(shape[0], *[1] * (len(shape) - 1)).log_normal_(generator=generator)
        layers.append(torch.randn(shape, generator=generator) * spread * scale)
    return layers


@pytest.fixture
def mixed() -> list[Tensor]:
    """Layers of many shapes and of every awkward content."""
    generator = torch.Generator().manual_seed(5)
    layers = random_layers(
        [(16, 8, 3, 3), (16, 8, 3, 3), (16, 8, 3, 3), (1, 50), (7, 1), (1, 1), (1000, 30)], 1
    )
    layers[1][torch.rand(layers[1].shape, generator=generator) < 0.3] = torch.nan
    layers[2][3] = 0.25
    return layers


@pytest.mark.parametrize("seed", range(12))
def test_r7_agrees_with_the_loop_on_every_layer_of_a_network(seed: int) -> None:
    shapes = network_shapes(seed)
    scale = (1e-8, 1e-5, 1e-3, 1.0, 1e1, 1e3)[seed % 6]
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.empty(shape).uniform_(-0.1, 0.1, generator=generator) for shape in shapes]
    assert_as_reference(weights)
    assert_as_reference(random_layers(shapes, seed, scale))


def test_r7_missing_values_are_left_out() -> None:
    layers = random_layers([(12, 30), (12, 30), (120, 10), (3, 2)], 2)
    generator = torch.Generator().manual_seed(3)
    for layer in layers:
        layer[torch.rand(layer.shape, generator=generator) < 0.4] = torch.nan
    layers[0][4] = torch.nan
    layers[0][5, 1:] = torch.nan
    layers[1][:] = torch.nan
    assert_as_reference(layers)
    assert np.isnan(compute(layers)[1]).all()
    assert np.isnan(compute(layers)[0, 5, :11]).all()


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7e-8, 1e3])
def test_r8_a_constant_layer_has_no_shape(value: float) -> None:
    layers = [torch.full((20, 27), value), torch.full((64, 576), value)]
    assert_as_reference(layers)
    result = compute(layers)
    assert np.isnan(result[:, :21, SHAPED]).all()
    assert (result[:, :21, SQUARED] == 0).all()


def test_r7_near_constant_units_follow_scipy() -> None:
    single = torch.full((6, 40), 0.3)
    single[1, 7] = torch.nextafter(single[1, 7], torch.tensor(1.0))
    double = torch.full((4, 40), 1.0, dtype=torch.float64)
    double[1, 3] += 2.0**-52  # Spread below eps times the mean: no shape.
    double[2, 3] += 1e-10
    assert_as_reference([single, double[1:2], double[2:3]])
    result = compute([single, double[1:2]])
    assert np.isfinite(result[0, 2, SHAPED]).all()
    assert np.isnan(result[0, 1, SHAPED]).all()
    assert np.isnan(result[1, 1, SHAPED]).all()


def test_r7_units_far_apart() -> None:
    offsets = torch.tensor([-1e3, -1.0, 0.0, 1e-3, 5.0, 1e3])[:, None]
    assert_as_reference([offsets + random_layers([(6, 100)], 4)[0], offsets.expand(6, 9).contiguous()])


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 2), (2, 1), (1, 40), (40, 1), (99, 3), (100, 3), (1000, 5), (2, 5000)]
)
def test_r7_extreme_shapes(shape: tuple[int, int]) -> None:
    assert_as_reference(random_layers([shape], 6))


@given(st.data())
@settings(max_examples=60)
def test_r7_any_small_layer(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 30)))
    ties = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.5])
    number = st.floats(-1e3, 1e3, width=32) | ties
    element = data.draw(st.sampled_from([ties, number, number | st.just(np.nan)]))
    layer = data.draw(arrays.arrays(np.float32, shape, elements=element))
    # Below this, the fourth power leaves the range where SciPy's quotient means anything.
    layer[np.abs(layer) < 1e-30] = 0
    assert_as_reference([torch.from_numpy(layer)])


def test_r6_positions_and_padding() -> None:
    layer = random_layers([(25, 18)], 8)[0].double()
    result = compute([layer])[0]
    values = layer.numpy()
    np.testing.assert_allclose(result[0, 0], values.mean())
    np.testing.assert_allclose(result[1:26, 0], values.mean(1))
    np.testing.assert_allclose(result[:5, 11], np.percentile(values, (0, 25, 50, 75, 100)))
    np.testing.assert_allclose(
        result[5:, 11].reshape(19, 5), np.percentile(values[:19], (0, 25, 50, 75, 100), 1).T
    )
    assert np.isfinite(result[:26, :11]).all()
    assert np.isnan(result[26:, :11]).all()


def test_r8_rows_without_a_unit_are_nan() -> None:
    result = compute(random_layers([(3, 18)], 8))[0]
    assert np.isnan(result[4:, :11]).all()
    assert np.isfinite(result[:20, 11]).all()
    assert np.isnan(result[20:, 11]).all()


def test_r5_a_wide_layer_is_its_sampled_units() -> None:
    layer = random_layers([(1000, 9)], 9)[0]
    picked = torch.tensor(sampled_units(1000))
    np.testing.assert_array_equal(compute([layer]), compute([layer[picked]]))


def test_a_layer_does_not_depend_on_its_company(mixed: list[Tensor]) -> None:
    many = [*mixed, *random_layers([(64, 64, 3, 3)] * 20, 10)]
    together = compute(many)
    backwards = compute(many[::-1])[::-1]
    for index, layer in enumerate(many):
        alone = compute([layer])[0]
        np.testing.assert_array_equal(alone, together[index])
        np.testing.assert_array_equal(alone, backwards[index])


def test_same_values_same_bits(mixed: list[Tensor]) -> None:
    plan = StatisticsPlan.of(mixed)
    first = statistics(mixed, plan).numpy().tobytes()
    statistics(random_layers([tuple(layer.shape) for layer in mixed], 77), plan)
    assert statistics(mixed, plan).numpy().tobytes() == first


def test_the_sign_of_a_zero_is_not_kept() -> None:
    zeros = torch.zeros(8, 40)
    zeros[:, ::3] = -0.0
    result = compute([zeros])[0]
    order = [FEATURES.index(name) for name in ("median", "min", "max", "quantiles")]
    assert not np.signbit(result[:9, order]).any()


@pytest.fixture
def _deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("_deterministic")
def test_r10_deterministic_algorithms_suffice(mixed: list[Tensor]) -> None:
    compute(mixed)


def test_r4_generators_and_inputs_are_untouched(mixed: list[Tensor]) -> None:
    copies = [layer.clone() for layer in mixed]
    parameters = [torch.nn.Parameter(layer) for layer in mixed]
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    result = statistics(parameters, StatisticsPlan.of(parameters))
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_equal(np.random.get_state(), states[1])  # noqa: NPY002
    assert random.getstate() == states[2]
    assert not result.requires_grad
    for layer, copy in zip(mixed, copies, strict=True):
        assert layer.numpy().tobytes() == copy.numpy().tobytes()


def test_memory_layout_and_dtype_do_not_matter() -> None:
    layer = random_layers([(16, 8, 3, 3)], 11)[0]
    expected = compute([layer])
    np.testing.assert_array_equal(compute([layer.contiguous(memory_format=torch.channels_last)]), expected)
    np.testing.assert_array_equal(compute([layer.double()]), expected)
    np.testing.assert_array_equal(compute([layer.bfloat16()]), compute([layer.bfloat16().float()]))


def test_infinite_values_give_numbers_not_errors() -> None:
    layer = random_layers([(3, 20)], 13)[0]
    layer[0, 0], layer[1, :2], layer[2, :] = torch.inf, torch.tensor([torch.inf, -torch.inf]), -torch.inf
    result = dict(zip(FEATURES, compute([layer])[0, :4].T, strict=True))
    np.testing.assert_array_equal(result["mean"], [np.nan, np.inf, np.nan, -np.inf])
    np.testing.assert_array_equal(result["min"][1:], [layer[0].min(), -np.inf, -np.inf])
    np.testing.assert_array_equal(result["max"], [np.inf, np.inf, np.inf, -np.inf])
    np.testing.assert_array_equal(result["median"][3], -np.inf)
    assert np.isnan(result["variance"]).all()
    assert np.isnan(result["skewness"]).all()
    np.testing.assert_array_equal(result["l2"], [np.inf] * 4)


def test_no_layers() -> None:
    assert statistics([], StatisticsPlan.of([])).shape == (0, 100, 12)


def test_other_tensors_than_planned_are_refused() -> None:
    plan = StatisticsPlan.build([(4, 9), (2, 3)])
    with pytest.raises(ValueError, match="1 tensors for a plan of 2 layers"):
        statistics([torch.zeros(4, 9)], plan)
    with pytest.raises(ValueError, match=r"layer 1 has shape \(3, 2\), planned was \(2, 3\)"):
        statistics([torch.zeros(4, 1, 3, 3), torch.zeros(3, 2)], plan)
    with pytest.raises(ValueError, match="both must be at least 1"):
        StatisticsPlan.build([(4, 0)])


@given(st.integers(1, 3000))
def test_r5_sampled_units(width: int) -> None:
    units = sampled_units(width)
    assert units.dtype == np.int64
    assert len(units) == min(width, 99)
    assert (np.diff(units) > 0).all()
    assert units[0] >= 0
    assert units[-1] < width
    if width <= 99:
        np.testing.assert_array_equal(units, np.arange(width))


def test_r5_the_draw_is_fixed() -> None:
    expected = np.sort(np.random.default_rng(42).choice(1000, 99, replace=False))
    sampled_units.cache_clear()
    np.random.default_rng(1).random()
    np.testing.assert_array_equal(sampled_units(1000), expected)
    assert not sampled_units(1000).flags.writeable
    assert len(sampled_units(10, most=3, seed=1)) == 3
    with pytest.raises(ValueError, match="both must be at least 1"):
        sampled_units(0)
