"""Networks that are not of NAS-Bench-201: every proxy gives a number or says why there is none."""

# ruff: noqa: ARG002  a method fits the interface

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.search_spaces.build import build
from stages.search_spaces.space import ImageTask, SearchSpace
from stages.zero_cost.columns import COLUMNS
from stages.zero_cost.measure import Measured, measure
from stages.zero_cost.proxy import Batch, Subject
from stages.zero_cost.registry import PROXIES

TASK = ImageTask(classes=4, image_size=8, channels=1)


class Plain(nn.Module):
    """Convolutions whose ReLUs are functions, two Linear layers, and a parameter that plays no part."""

    def __init__(self, depth: int, task: ImageTask, *, learned: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        widths = [task.channels, *[6] * depth]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3, padding=1) for inputs, outputs in itertools.pairwise(widths)
        )
        self.first, self.dropout = nn.Linear(6 * task.image_size**2, 10), nn.Dropout(dropout)
        self.last = nn.Linear(10, task.classes)
        if learned:
            self.unused = nn.Parameter(torch.ones(3))

    def forward(self, images: Tensor) -> Tensor:
        for convolution in self.convolutions:
            images = functional.relu(convolution(images))
        return self.last(self.dropout(functional.relu(self.first(images.flatten(1)))))


class Depths(SearchSpace):
    """Plain networks by their depth; what has a default keeps it."""

    name = "depths"

    def draw(self, number: int, rng: object, known: object) -> list[str]:
        return [str(depth + 1) for depth in range(number)]

    def parse(self, text: str) -> str:
        return str(int(text))

    def build(self, architecture: str, task: ImageTask, seed: int) -> nn.Module:
        return Plain(int(architecture), task)

    def max_layers(self, task: ImageTask) -> int:
        return 100


class Halves(Depths):
    """With blocks, each with a ReLU that is a module and changes its input, the images first of all."""

    def build(self, architecture: str, task: ImageTask, seed: int) -> nn.Module:
        def block(inputs: int, stride: int) -> nn.Module:
            convolution = nn.Conv2d(inputs, 6, 3, stride, padding=1)
            return nn.Sequential(nn.ReLU(inplace=True), convolution, nn.BatchNorm2d(6))

        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, task.classes))
        return nn.Sequential(block(task.channels, 1), block(6, 2), block(6, 1), head)

    def blocks(self, network: nn.Module) -> list[nn.Module]:
        return list(network.children())[:-1]


class Flat(Halves):
    """With blocks that give no feature maps."""

    def blocks(self, network: nn.Module) -> list[nn.Module]:
        return [nn.Flatten(), *super().blocks(network)]


def subject(space: SearchSpace, network: nn.Module | None = None) -> Subject:
    built = build(space, "3", TASK, 4) if network is None else network
    return Subject(network=built, space=space, architecture="3", task=TASK)


def measured(of: Subject) -> Measured:
    images = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return measure(of, Batch(images=images, labels=torch.arange(8) % 4, seed=7), lambda: None)


def test_a_network_without_blocks_or_relu_modules_gives_numbers_or_reasons() -> None:
    found = measured(subject(Depths()))
    assert set(found.values) == set(found.seconds) == set(COLUMNS)
    numbers = {name for name, value in found.values.items() if value is not None}
    assert numbers == {"synflow", "grad_norm", "snip", "jacov", "pnorm", "complexity"}
    assert all(math.isfinite(found.values[name] or 0) for name in numbers)
    relus = "ValueError: it has no ReLU module; ReLUs that are functions cannot be watched"
    blocks = "ValueError: search space depths names no blocks of its networks"
    owner = "ValueError: Plain holds parameters; only Conv2d, BatchNorm2d and Linear are known"
    assert found.notes == {
        "naswot": relus,
        "wrcor": relus,
        **dict.fromkeys(("expressivity", "progressivity", "trainability"), blocks),
        **dict.fromkeys(("vkdnw_entropy", "vkdnw_tensors"), owner),
    }
    macs = 64 * 9 * (6 + 36 + 36) + 384 * 10 + 10 * 4
    assert found.values["complexity"] == macs


def test_the_parameter_without_gradient_is_the_reason_of_vkdnw_alone() -> None:
    with_it, without = measured(subject(Depths())), measured(subject(Depths(), Plain(3, TASK, learned=False)))
    assert "vkdnw_entropy" in with_it.notes
    assert without.values["vkdnw_tensors"] == 2 * 3 + 4
    assert "vkdnw_entropy" not in without.notes


def test_a_network_with_blocks_has_every_number_also_where_it_changes_its_images() -> None:
    network = build(Halves(), "3", TASK, 4)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = measured(subject(Halves(), network))
    assert found.notes == {}
    gentle = copy.deepcopy(network)
    for module in gentle.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    assert measured(subject(Halves(), gentle)).values == found.values
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_blocks_without_feature_maps_cost_az_nas_alone() -> None:
    found = measured(subject(Flat()))
    assert set(found.notes) == {"expressivity", "progressivity", "trainability"}
    assert (
        found.notes["expressivity"] == "ValueError: a block gives features of shape (8, 64), not (B, C, H, W)"
    )


def test_what_a_network_draws_follows_from_the_seed_and_moves_no_generator() -> None:
    mine = subject(Depths(), Plain(2, TASK, dropout=0.5))
    torch.manual_seed(1)
    found, state = measured(mine), torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert measured(mine).values == found.values
    without = subject(Depths(), Plain(2, TASK))
    without.network.load_state_dict(mine.network.state_dict())
    assert measured(without).values["jacov"] != found.values["jacov"]  # something was drawn


def test_an_error_of_any_kind_is_a_reason_and_one_of_the_machine_is_not() -> None:
    def failing(error: Exception) -> Callable[[Subject, Batch], dict[str, float]]:
        def compute(subject: Subject, batch: Batch) -> dict[str, float]:
            raise error

        return compute

    mine = subject(Depths())
    batch = Batch(images=torch.zeros(2, 1, 8, 8), labels=torch.zeros(2, dtype=torch.int64), seed=0)
    for error in (TypeError("two"), AttributeError("three"), IndexError("four"), AssertionError("five")):
        proxies = {"pnorm": replace(PROXIES["pnorm"], compute=failing(error))}
        found = measure(mine, batch, lambda: None, proxies)
        assert found.notes == {"pnorm": f"{type(error).__name__}: {error}"}
    for error in (MemoryError("six"), OSError("seven"), ImportError("eight")):
        proxies = {"pnorm": replace(PROXIES["pnorm"], compute=failing(error))}
        with pytest.raises(type(error), match=str(error)):
            measure(mine, batch, lambda: None, proxies)


def test_weights_that_cannot_be_drawn_cost_their_own_proxies_alone() -> None:
    network = Plain(2, TASK, learned=False)
    nn.utils.parametrizations.weight_norm(
        network.last
    )  # its weight is computed: nothing can be copied into it
    found = measured(subject(Depths(), network))
    assert found.values["pnorm"] is not None
    assert set(found.notes) >= {"expressivity", "vkdnw_entropy"}


def test_proxies_know_no_search_space_by_name() -> None:
    files = sorted((Path(__file__).parents[1] / "stages" / "zero_cost").glob("*.py"))
    assert len(files) > 10
    assert [file.name for file in files if "nasbench201" in file.read_text(encoding="utf-8")] == []
