"""Each proxy against numbers worked out by hand or by brute force, on networks small enough for that."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev
from torch.nn import functional

from stages.search_spaces.build import build
from stages.search_spaces.nasbench201.genotype import EDGES, Genotype, live_edges
from stages.search_spaces.nasbench201.layers import layers
from stages.search_spaces.nasbench201.network import Network
from stages.search_spaces.nasbench201.space import NASBench201
from stages.search_spaces.space import ImageTask, SearchSpace
from stages.zero_cost import az_nas, kernels, vkdnw
from stages.zero_cost.batch import as_noise
from stages.zero_cost.columns import COLUMNS
from stages.zero_cost.gradients import gradients
from stages.zero_cost.jacov import spread
from stages.zero_cost.measure import measure
from stages.zero_cost.naswot import naswot
from stages.zero_cost.pnorm import pnorm
from stages.zero_cost.proxy import Batch, Subject
from stages.zero_cost.registry import PROXIES
from stages.zero_cost.relus import relus_by_block
from stages.zero_cost.scratch import kaiming_normal
from stages.zero_cost.synflow import synflow
from stages.zero_cost.wrcor import wrcor

SPACE = NASBench201(channels=4, cells_per_stage=1)
TASK = ImageTask(classes=3, image_size=8)
SHAPE = SPACE.shape(TASK)
CELLS = {
    "mixed": "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|",
    "unreachable convolution": "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|",
    "disconnected": "|none~0|+|none~0|nor_conv_3x3~1|+|none~0|nor_conv_1x1~1|none~2|",
    "passing on": "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|",
}


def network(name: str = "mixed", seed: int = 4) -> Network:
    made = build(SPACE, CELLS[name], TASK, seed)
    assert isinstance(made, Network)
    return made


class Other(SearchSpace):
    """A space that knows neither blocks nor ReLUs of its networks."""

    name = "other"

    def draw(self, number: int, rng: object, known: object) -> list[str]:
        raise NotImplementedError

    def parse(self, text: str) -> str:
        return text

    def build(self, architecture: str, task: ImageTask, seed: int) -> nn.Module:
        raise NotImplementedError

    def max_layers(self, task: ImageTask) -> int:
        raise NotImplementedError(task)


def of(made: nn.Module, name: str = "mixed") -> Subject:
    """Say which space a network is of: NAS-Bench-201, or one that says nothing of it."""
    space = SPACE if isinstance(made, Network) else Other()
    return Subject(network=made, space=space, architecture=CELLS[name], task=TASK)


def batch(size: int = 8, shape: tuple[int, ...] = (3, 8, 8), classes: int = 3) -> Batch:
    images = torch.randn(size, *shape, generator=torch.Generator().manual_seed(1))
    return Batch(images=images, labels=torch.arange(size) % classes, seed=7)


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("training", [True, False])
def test_a_proxy_leaves_network_and_generators_as_they_were(name: str, cell: str, training: bool) -> None:
    mine, images = network(cell).train(training), batch()
    for parameter in mine.parameters():
        parameter.grad = torch.ones_like(parameter)
    before, numbers = state(mine), torch.get_rng_state()
    pixels, names = images.images.clone(), [name for name, _ in mine.named_modules()]
    legacy = np.random.get_state()[1].copy()  # noqa: NPY002  the global one is what is looked at
    try:
        PROXIES[name].compute(of(mine, cell), images)
    except (RuntimeError, ValueError):
        assert cell == "disconnected"  # the network is as it was all the same
    assert all(torch.equal(value, before[key]) for key, value in mine.state_dict().items())
    assert torch.equal(torch.get_rng_state(), numbers)
    assert np.array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002
    assert mine.training == training
    assert all(parameter.requires_grad for parameter in mine.parameters())
    assert all(
        bool((parameter.grad == 1).all()) for parameter in mine.parameters() if parameter.grad is not None
    )
    assert [name for name, _ in mine.named_modules()] == names
    assert torch.equal(images.images, pixels)
    assert not images.images.requires_grad


@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_gives_its_columns_and_the_same_again(name: str) -> None:
    expected = [column for column, facts in COLUMNS.items() if facts.proxy == name]
    found = PROXIES[name].compute(of(network()), batch())
    assert list(found) == expected
    assert all(math.isfinite(value) for value in found.values())
    assert PROXIES[name].compute(of(network()), batch()) == found


def test_every_column_has_a_proxy() -> None:
    assert {facts.proxy for facts in COLUMNS.values()} == set(PROXIES)
    assert all(facts.source and facts.meaning for facts in COLUMNS.values())
    assert sum(len(proxy.columns) for proxy in PROXIES.values()) == len(COLUMNS)  # no name is of two
    assert COLUMNS["grad_norm"].source == "Abdelfattah et al. 2021"
    assert COLUMNS["snip"].source == "Lee et al. 2019, Abdelfattah et al. 2021"


def test_listing_columns_does_not_wait_for_torch() -> None:
    root, code = (
        Path(__file__).parents[1],
        "import sys, stages.zero_cost.columns; {}sys.exit('torch' in sys.modules)",
    )
    for more, expected in (("", 0), ("import stages.zero_cost.measure; ", 1)):
        command = [sys.executable, "-c", code.format(more)]
        assert subprocess.run(command, cwd=root, check=False).returncode == expected


def test_synflow_of_two_linear_layers_by_hand() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
        model[2].weight.copy_(torch.tensor([[-5.0, 6.0]]))
    # R = 5·(1 + 2) + 6·(3 + 4) = 57, and each layer's Σ |w · ∂R/∂w| is R.
    ones_shape = Batch(images=torch.zeros(1, 1, 1, 2), labels=torch.zeros(1, dtype=torch.int64), seed=0)
    assert synflow(of(model), ones_shape)["synflow"] == pytest.approx(math.log(2 * 57), rel=1e-12)


def test_synflow_passes_batchnorm_by() -> None:
    shape = Batch(images=torch.zeros(1, 1, 2, 2), labels=torch.zeros(1, dtype=torch.int64), seed=0)
    convolution = nn.Conv2d(1, 2, 1, bias=False)
    norm = nn.BatchNorm2d(2)
    with torch.no_grad():
        norm.weight.fill_(9.0)
        norm.running_mean.fill_(3.0)
    with_norm = synflow(of(nn.Sequential(convolution, norm)), shape)
    assert with_norm == synflow(of(nn.Sequential(convolution)), shape)


def test_synflow_of_a_disconnected_network_is_minus_infinity() -> None:
    assert synflow(of(network("disconnected")), batch())["synflow"] == -math.inf


def test_gradients_by_hand_and_unreachable_layers_add_nothing() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    images = torch.tensor([2.0, 0.0]).reshape(1, 2, 1, 1)
    share = math.exp(2) / (math.exp(2) + 1)
    gradient = np.outer([share - 1, 1 - share], [2.0, 0.0])
    found = gradients(of(model), Batch(images=images, labels=torch.tensor([0]), seed=0))
    assert found["grad_norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
    assert found["snip"] == pytest.approx(abs(gradient[0, 0]), rel=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_those_of_the_first_mini_batch(cell: str) -> None:
    mine, images = network(cell), batch()
    functional.cross_entropy(mine(images.images), images.labels).backward()
    weights = [m.weight for m in mine.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weights) == len(layers(Genotype.parse(CELLS[cell]), SHAPE))
    given = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
    found = gradients(of(network(cell)), images)
    assert found["grad_norm"] == pytest.approx(sum(float(g.norm()) for g in given), rel=1e-5)
    snip = sum(float((w.detach() * g).abs().sum()) for w, g in zip(weights, given, strict=True))
    assert found["snip"] == pytest.approx(snip, rel=1e-5)


def test_pnorm_adds_the_layers_norms() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.fill_(-2.0)
        model[2].weight.copy_(torch.tensor([[3.0, 4.0]]))
    assert pnorm(of(model), batch()) == {"pnorm": pytest.approx(7.0)}


def test_agreements_count_places_where_codes_are_equal() -> None:
    rows = torch.tensor([[1.0, -1.0, 2.0, 0.0], [3.0, 1.0, 1.0, -2.0], [-1.0, 1.0, 0.0, 5.0]])
    expected = [[4, 3, 0], [3, 4, 1], [0, 1, 4]]
    assert kernels.agreements(rows).tolist() == expected
    assert kernels.log_determinant(np.array(expected, float)) == pytest.approx(math.log(24))
    assert kernels.log_determinant(np.ones((2, 2))) == -math.inf


def test_naswot_counts_a_relu_for_each_live_convolution() -> None:
    mine, images = network("unreachable convolution"), batch()
    kernel = np.zeros((8, 8))

    def count(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        kernel[...] += kernels.agreements(arguments[0])

    genotype = Genotype.parse(CELLS["unreachable convolution"])
    used = zip(genotype.operations, EDGES, live_edges(genotype), strict=True)
    names = [f"{target}<-{source}" for name, (target, source), live in used if live and "conv" in name]
    assert len(names) < sum("conv" in name for name in genotype.operations)
    for cell in mine.cells:
        if hasattr(cell, "edges"):
            for name in names:
                cell.edges[name].register_forward_pre_hook(
                    count
                )  # what a convolution reads is a ReLU's output
        else:
            cell.conv_a.register_forward_pre_hook(count)
            cell.conv_b.register_forward_pre_hook(count)
    mine.norm.register_forward_hook(lambda module, arguments, output: count(module, (output,)))
    mine(images.images)
    assert naswot(of(network("unreachable convolution")), images)["naswot"] == pytest.approx(
        kernels.log_determinant(kernel)
    )


def test_correlations_are_numpys_and_a_constant_row_has_none() -> None:
    rows = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0))
    assert np.allclose(kernels.correlations(rows), np.corrcoef(rows.reshape(5, 6).numpy()), atol=1e-7)
    assert np.isnan(kernels.correlations(torch.ones(2, 3))).all()


def test_jacov_of_known_eigenvalues() -> None:
    assert spread(np.eye(4)) == pytest.approx(-4 * (math.log(1 + 1e-5) + 1 / (1 + 1e-5)))
    kernel = np.array([[1.0, 0.5], [0.5, 1.0]])
    assert spread(kernel) == pytest.approx(
        -sum(math.log(v + 1e-5) + 1 / (v + 1e-5) for v in (0.5, 1.5)), rel=1e-9
    )
    with pytest.raises(ValueError, match="constant"):
        spread(np.full((2, 2), np.nan))


def test_wrcor_of_a_chain_by_hand() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 15), nn.ReLU(), nn.Linear(15, 3)
    )
    images = batch(size=4, shape=(1, 2, 3))
    seen = [model[:2](images.images)]
    seen.append(model[2:4](seen[0]))
    loss = functional.cross_entropy(model[4:](seen[1]), images.labels)
    given = torch.autograd.grad(loss, seen)
    kernel = sum(np.abs(np.corrcoef(each.detach().numpy())) for each in (*seen, *given))
    assert wrcor(of(model), images)["wrcor"] == pytest.approx(kernels.log_determinant(kernel), rel=1e-5)


def test_wrcor_takes_the_gradient_through_each_relu_and_doubles_by_block() -> None:
    mine, images = network(), batch()
    mine.separate_relus()
    kernel = np.zeros((8, 8))

    def add(weight: int, values: Tensor) -> None:
        kernel[...] += weight * np.abs(np.corrcoef(values.detach().flatten(1).numpy()))

    for block, module in enumerate([*mine.cells, mine.relu]):
        for relu in (each for each in module.modules() if isinstance(each, nn.ReLU)):
            relu.register_forward_hook(lambda _, given, out, block=block: add(2**block, given[0]))
            relu.register_full_backward_hook(lambda _, given, out, block=block: add(2**block, given[0]))
    functional.cross_entropy(mine(images.images), images.labels).backward()
    assert wrcor(of(network()), images)["wrcor"] == pytest.approx(kernels.log_determinant(kernel), rel=1e-6)


def test_relus_of_the_stem_are_the_first_block_s_and_those_outside_come_last() -> None:
    class Blocks(Other):
        def blocks(self, network: nn.Module) -> list[nn.Module]:
            return [network[0], network[1], network[3]]

    relus = [nn.ReLU() for _ in range(6)]
    stem, first, second = nn.Sequential(relus[0]), nn.Sequential(relus[1], relus[2]), nn.Sequential(relus[3])
    model = nn.Sequential(stem, first, relus[4], second, relus[5])
    assert relus_by_block(model, Blocks()) == [relus[:3], relus[3:4], relus[4:]]
    assert relus_by_block(model, Other()) == [[*relus[:3], relus[4], relus[3], relus[5]]]  # one block
    with pytest.raises(ValueError, match="no ReLU module"):
        relus_by_block(nn.Sequential(nn.Linear(2, 2)), Other())


def test_relus_of_nasbench201_are_those_of_cells_and_reductions_and_the_last_one() -> None:
    mine = network()
    groups = relus_by_block(mine, SPACE)
    assert [len(each) for each in groups] == [4, 2, 4, 2, 4, 1]
    assert groups[-1] == [mine.relu]
    assert groups[1] == [mine.cells[1].relu_a, mine.cells[1].relu_b]


@pytest.mark.parametrize("compute", [naswot, wrcor, vkdnw.vkdnw, gradients])
def test_what_changes_its_input_in_place_gives_the_same_numbers(
    compute: Callable[[Subject, Batch], dict[str, float]],
) -> None:
    def chain(inplace: bool) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace),
            nn.Conv2d(4, 6, 3),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace),
            nn.Flatten(),
            nn.Linear(216, 3),
        )

    assert compute(of(chain(True)), batch()) == compute(of(chain(False)), batch())


def test_separate_relus_change_neither_outputs_nor_gradients() -> None:
    one, other, images = network(), network(), batch()
    other.separate_relus()
    outputs = [each(images.images) for each in (one, other)]
    assert torch.equal(*outputs)
    for output in outputs:
        functional.cross_entropy(output, images.labels).backward()
    for (name, mine), (_, theirs) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        assert mine.grad is not None, name
        assert torch.allclose(mine.grad, theirs.grad, atol=1e-6), name


def test_entropy_of_features_with_known_variances() -> None:
    features = torch.zeros(4, 2, 1, 1)
    features[:, 0, 0, 0] = torch.tensor([3.0, -3.0, 0.0, 0.0])
    features[:, 1, 0, 0] = torch.tensor([0.0, 0.0, 1.0, -1.0])
    shares = (0.9, 0.1)
    assert az_nas.entropy(features) == pytest.approx(-sum(p * math.log(p + 1e-8) for p in shares))


def test_passage_scores_an_isometry_best_and_an_identity_worst() -> None:
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]).reshape(4, 2, 1, 1)
    assert az_nas.passage(signs, signs.flip(1)) == pytest.approx(0, abs=1e-5)
    assert az_nas.passage(signs, 3 * signs) == pytest.approx(2 - 3 - 1 / 3, abs=1e-5)
    assert az_nas.passage(signs, signs.clone()) == -math.inf
    strided = torch.zeros(4, 2, 2, 2)
    strided[:, :, 0, 0] = 2 * signs[:, :, 0, 0]
    assert az_nas.passage(signs, strided) == pytest.approx(2 - 2 - 1 / 2, abs=1e-5)


def test_az_nas_block_by_block_is_one_pass_over_the_network() -> None:
    mine, images = network(), batch()
    features, entropies, scores = [mine.stem(images.images)], [], []
    for cell in mine.cells:
        features.append(cell(features[-1]))
    entropies = [az_nas.entropy(each) for each in features]
    for block, (before, after) in enumerate(itertools.pairwise(features)):
        arriving = az_nas._signs(images.seed, block)(after)
        leaving = torch.autograd.grad(after, before, arriving, retain_graph=True)[0]
        scores.append(az_nas.passage(arriving, leaving))
    found = az_nas.az_nas(of(network()), images)
    assert found["expressivity"] == pytest.approx(sum(entropies), rel=1e-6)
    assert found["progressivity"] == pytest.approx(min(np.diff(entropies)), rel=1e-4)
    assert found["trainability"] == pytest.approx(np.mean(scores), rel=1e-4)
    assert az_nas.az_nas(of(network("passing on")), images)["trainability"] == -math.inf


def brute_force(model: nn.Module, images: Tensor) -> np.ndarray:
    """Expected outer products of ∇ log p(c | x), c drawn from the model, of the first weights."""
    model.eval()
    firsts = {name: p.detach().flatten()[:1] for name, p in model.named_parameters()}
    shapes = {name: p.shape for name, p in model.named_parameters()}

    def logits(chosen: dict[str, Tensor], image: Tensor) -> Tensor:
        whole = {name: p.detach().flatten() for name, p in model.named_parameters()}
        joined = {
            name: (torch.cat([chosen[name], values[1:]]) if name in chosen else values).reshape(shapes[name])
            for name, values in whole.items()
        }
        return functional_call(model, joined, (image[None],))[0]

    derive = jacrev(logits)
    jacobians = [derive(firsts, image) for image in images]
    stacked = (
        torch.stack([torch.cat([each[name] for name in firsts], 1) for each in jacobians]).double().numpy()
    )
    with torch.no_grad():
        shares = functional.softmax(model(images).double(), 1).numpy()
    shares = 0.95 * shares + 0.05 / shares.shape[1]
    total = np.zeros((len(firsts), len(firsts)))
    for image in range(len(images)):
        for kind, share in enumerate(shares[image]):
            # ∇ log p_c = Σ_k (δ_ck − p_k) ∇ logit_k
            score = stacked[image, kind] - shares[image] @ stacked[image]
            total += share * np.outer(score, score)
    return total / len(images)


def strided() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=2, dilation=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 5, (1, 3), padding=(0, 1), bias=False),
        nn.Flatten(),
        nn.Linear(80, 3),
    )


@pytest.mark.parametrize("made", [network, strided])
def test_the_fisher_matrix_is_that_of_brute_force(made: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model, images = made(), batch(size=5).images
    if isinstance(model, nn.Sequential):
        model(images)  # running statistics other than 0 and 1
    jacobian, logits = vkdnw.jacobians(of(model), images)
    expected = brute_force(model, images)
    assert expected.shape == (len(list(model.parameters())),) * 2
    assert np.allclose(
        vkdnw.fisher(jacobian, logits), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max()
    )


def test_what_the_fisher_matrix_cannot_do_is_refused() -> None:
    images = batch().images
    with pytest.raises(ValueError, match="same"):
        vkdnw.jacobians(of(nn.Sequential(nn.Conv2d(3, 3, 3, padding="same"), nn.Flatten())), images)
    with pytest.raises(ValueError, match="GroupNorm"):
        vkdnw.jacobians(of(nn.Sequential(nn.GroupNorm(1, 3), nn.Flatten())), images)


def test_what_is_not_one_vector_an_image_is_refused_by_the_fisher_matrix() -> None:
    tokens = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.Flatten(2), nn.Linear(64, 3), nn.Flatten(), nn.Linear(24, 3)
    )
    with pytest.raises(ValueError, match=r"a Linear is given shape \(8, 8, 64\)"):
        vkdnw.jacobians(of(tokens), batch().images)
    without = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten())
    with pytest.raises(ValueError, match="no running statistics"):
        vkdnw.jacobians(of(without), batch().images)


def test_vkdnw_of_unreachable_and_disconnected_networks() -> None:
    for cell in ("unreachable convolution", "disconnected"):
        found = vkdnw.vkdnw(of(network(cell)), batch())
        assert found["vkdnw_tensors"] == len(list(network(cell).parameters()))
    jacobian, _ = vkdnw.jacobians(of(network("disconnected")), batch().images)
    assert not jacobian[:, :, :9].any()  # the stem and the first cell have no path to the output


def test_the_spectrum_s_entropy() -> None:
    assert vkdnw.spectral_entropy(np.ones(20)) == pytest.approx(math.log(9), abs=1e-8)
    assert vkdnw.spectral_entropy(np.array([0.0] * 30 + [1.0])) == pytest.approx(0, abs=1e-8)


def test_kaiming_normal_weights() -> None:
    mine = network()
    before = state(mine)
    drawn = kaiming_normal(mine, seed=3)
    assert all(torch.equal(value, before[name]) for name, value in mine.state_dict().items())
    wide = kaiming_normal(nn.Sequential(nn.Conv2d(64, 64, 3), nn.Linear(400, 50)), seed=3)
    assert float(wide[0].weight.detach().std()) == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.02)
    assert float(wide[1].weight.detach().std()) == pytest.approx(math.sqrt(2 / 400), rel=0.02)
    assert not wide[0].bias.any()
    again = kaiming_normal(network(seed=5), seed=3)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in drawn.state_dict().items())


def test_a_failure_or_an_infinity_costs_its_own_number_alone() -> None:
    def fails(subject: Subject, images: Batch) -> dict[str, float]:
        raise RuntimeError("no such kernel")

    proxies = {
        "jacov": replace(PROXIES["jacov"], compute=fails),
        "synflow": PROXIES["synflow"],
        "pnorm": PROXIES["pnorm"],
    }
    found = measure(of(network("disconnected")), batch(), lambda: None, proxies)
    assert found.values["jacov"] is None
    assert found.notes == {"jacov": "RuntimeError: no such kernel", "synflow": "-inf"}
    assert found.values["pnorm"] == pytest.approx(pnorm(of(network("disconnected")), batch())["pnorm"])
    assert set(found.seconds) == set(found.values) == {"jacov", "synflow", "pnorm"}


def too_much(subject: Subject, images: Batch) -> dict[str, float]:
    return {"jacov": float(torch.empty(1 << 55).sum())}


def out_of_memory(subject: Subject, images: Batch) -> dict[str, float]:
    raise torch.OutOfMemoryError("CUDA out of memory")


def broken_device(subject: Subject, images: Batch) -> dict[str, float]:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


@pytest.mark.parametrize("compute", [too_much, out_of_memory, broken_device])
def test_what_the_machine_lacks_is_no_result(compute: Callable[[Subject, Batch], dict[str, float]]) -> None:
    proxies = {"jacov": replace(PROXIES["jacov"], compute=compute)}
    with pytest.raises(RuntimeError, match=r"memory|CUDA"):
        measure(of(network()), batch(), lambda: None, proxies)


def test_noise_has_the_shape_of_the_batch_and_does_not_change() -> None:
    one, other = as_noise(batch()), as_noise(batch())
    assert one.images.shape == batch().images.shape
    assert torch.equal(one.images, other.images)
    assert not torch.equal(one.images, batch().images)
