"""The networks against the paper's Tables 11-13 and against plain PyTorch modules of the same state (R14, R16)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from plain_autoencoder import plain_autoencoder, plain_decoder, plain_encoder
from stages.nap2.models.autoencoder import Autoencoder, Decoder, Encoder, reconstruction_loss
from stages.nap2.models.predictor import Predictor

# Type, in, out, kernel: Tables 11 and 12. All strides are (1, 1), all paddings (0, 0).
TABLE_11 = (
    (nn.Conv2d, 12, 512, (1, 100)),
    (nn.BatchNorm2d, 512),
    (nn.Conv2d, 512, 256, (65, 1)),
    (nn.BatchNorm2d, 256),
    (nn.Conv2d, 256, 128, (1, 1)),
    (nn.BatchNorm2d, 128),
)
TABLE_12 = (
    (nn.ConvTranspose2d, 128, 256, (1, 1)),
    (nn.BatchNorm2d, 256),
    (nn.ConvTranspose2d, 256, 512, (65, 1)),
    (nn.BatchNorm2d, 512),
    (nn.ConvTranspose2d, 512, 12, (1, 100)),
)
TABLE_13 = {  # a GRU has a row of weights for each of its three gates
    "gru.weight_ih_l0": (3 * 128, 256),
    "gru.weight_hh_l0": (3 * 128, 128),
    "gru.bias_ih_l0": (3 * 128,),
    "gru.bias_hh_l0": (3 * 128,),
    "gru.weight_ih_l1": (3 * 128, 256),
    "gru.weight_hh_l1": (3 * 128, 128),
    "gru.bias_ih_l1": (3 * 128,),
    "gru.bias_hh_l1": (3 * 128,),
    "attention.weight": (1, 256),
    "attention.bias": (1,),
    "dense1.weight": (128, 512),
    "dense1.bias": (128,),
    "dense2.weight": (1, 128),
    "dense2.bias": (1,),
}


@pytest.fixture(autouse=True)
def seeded_on_one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(14)
        yield
    torch.set_num_threads(threads)


def count(*parts: nn.Module) -> int:
    return sum(parameter.numel() for part in parts for parameter in part.parameters())


def maps(number: int = 4, layers: int = 65, dtype: torch.dtype = torch.float64) -> Tensor:
    """Maps of networks with different numbers of layers, in the memory order of the store."""
    found = torch.randn(number, layers, 12, 100, dtype=dtype)
    for position, one in enumerate(found):
        one[layers - position * (layers // number) :] = 0
    return found.permute(0, 2, 1, 3)


def largest(values: Tensor) -> float:
    return float(values.detach().abs().max())


def gradients(network: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in network.named_parameters()}  # type: ignore[misc]


def assert_close(ours: dict[str, Tensor], plain: dict[str, Tensor], tolerance: float) -> None:
    """Compare relative to the largest value of all: some gradients are zero but for rounding."""
    assert list(ours) == list(plain)
    scale = max(largest(value) for value in plain.values())
    for name, value in plain.items():
        assert largest(ours[name] - value) <= tolerance * scale, name


# --- the autoencoder ---


def test_parameters_of_the_autoencoder() -> None:
    assert count(Encoder()) == count(plain_encoder()) == 9_169_536
    assert count(Decoder()) == count(plain_decoder()) == 9_169_164


@pytest.mark.parametrize(("network", "table"), [(Encoder, TABLE_11), (Decoder, TABLE_12)])
def test_layers_are_those_of_the_table(
    network: type[nn.Module], table: tuple[tuple[object, ...], ...]
) -> None:
    rows = []
    for layer in network().children():
        if isinstance(layer, nn.BatchNorm2d):
            assert (layer.eps, layer.momentum, layer.affine) == (1e-5, 0.1, True)
            rows.append((type(layer), layer.num_features))
        else:
            assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
            assert (layer.stride, layer.padding, layer.groups) == ((1, 1), (0, 0), 1)
            rows.append((type(layer), layer.in_channels, layer.out_channels, layer.kernel_size))
    assert tuple(rows) == table


def test_shapes_along_the_way_are_those_of_the_tables() -> None:
    shapes = []
    network = plain_autoencoder()
    for part in network:
        for layer in part:
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                layer.register_forward_hook(lambda _, inputs, output: shapes.append(tuple(output.shape[1:])))
    assert network(torch.zeros(2, 12, 65, 100)).shape == (2, 12, 65, 100)
    encoder = [(512, 65, 1), (256, 1, 1), (128, 1, 1)]
    assert shapes == [*encoder, (256, 1, 1), (512, 65, 1), (12, 65, 100)]
    assert Encoder()(torch.zeros(2, 12, 65, 100)).shape == (2, 128)
    assert Decoder()(torch.zeros(2, 128)).shape == (2, 12, 65, 100)


def test_state_is_the_plain_form_s_and_initial_values_are_drawn_in_its_order() -> None:
    torch.manual_seed(1)
    ours = Autoencoder(7).state_dict()
    torch.manual_seed(1)
    plain = plain_autoencoder(7).state_dict()
    assert list(ours) == list(plain)
    assert all(torch.equal(ours[name], value) for name, value in plain.items())
    assert all(value.is_contiguous() for value in ours.values())  # fused Adam is slow on others


# Rounding is all that differs; BatchNorm over few maps makes it grow on its way to the first layers and back: in
# float32 to 4 % of the largest gradient on one processor, to less than 1 % on another.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-1)])
def test_training_is_that_of_the_plain_form(dtype: torch.dtype, tolerance: float) -> None:
    ours, plain = networks = (Autoencoder().to(dtype), plain_autoencoder().to(dtype))
    plain.load_state_dict(ours.state_dict(), strict=True)
    optimizers = [torch.optim.SGD(network.parameters(), lr=1e-6) for network in networks]
    for batch in (maps(dtype=dtype), maps(dtype=dtype).contiguous()):
        outputs = [network(batch) for network in networks]
        losses = [reconstruction_loss(outputs[0], batch), ((outputs[1] - batch) ** 2).sum()]
        torch.testing.assert_close(*outputs, rtol=0, atol=tolerance / 10)
        torch.testing.assert_close(*losses, rtol=tolerance / 1000, atol=0)
        for loss, optimizer in zip(losses, optimizers, strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert_close(gradients(ours), gradients(plain), tolerance)
    kept = [{name: value.to(dtype) for name, value in network.named_buffers()} for network in networks]
    assert kept[1]["encoder.norm1.num_batches_tracked"] == 2
    assert_close(*kept, tolerance / 1000)
    with torch.no_grad():
        embeddings = [network.encoder.eval()(batch).flatten(1) for network in networks]
    assert float(embeddings[0].std()) > 0.1
    torch.testing.assert_close(*embeddings, rtol=0, atol=tolerance)


def test_with_and_without_empty_layers() -> None:
    encoder, plain = Encoder(5).double(), plain_encoder(5).double()
    plain.load_state_dict(encoder.state_dict(), strict=True)
    for batch in (maps(4, 5), torch.randn(4, 12, 5, 100).double(), torch.zeros(4, 12, 5, 100).double()):
        torch.testing.assert_close(encoder(batch), plain(batch).flatten(1), rtol=1e-10, atol=1e-12)


def test_only_layers_of_nothing_but_zeros_count_as_empty() -> None:
    encoder, plain = Encoder(5).double(), plain_encoder(5).double()
    plain.load_state_dict(encoder.state_dict(), strict=True)
    batch = maps(4, 5)
    batch[0, :, 1], batch[1, :, 2] = -batch[0, :, 1].abs(), 0
    batch[0, 3, 1, 8], batch[1, 11, 2, 99] = 0, -1e-3
    torch.testing.assert_close(encoder(batch), plain(batch).flatten(1), rtol=1e-10, atol=1e-12)
    batch[2, 11, 4, 99] = torch.nan
    assert encoder.eval()(batch)[2].isnan().any()


def test_the_comparison_would_notice_layers_in_another_order() -> None:
    encoder, plain = Encoder(5).double(), plain_encoder(5).double()
    plain.load_state_dict(encoder.state_dict(), strict=True)
    batch = maps(4, 5)
    assert largest(encoder(batch) - plain(batch.flip(2)).flatten(1)) > 0.1


def test_gradient_of_the_maps_where_asked_for() -> None:
    encoder, plain = Encoder(5).double(), plain_encoder(5).double()
    plain.load_state_dict(encoder.state_dict(), strict=True)
    batch = maps(4, 5).requires_grad_()
    found = [torch.autograd.grad(network(batch).square().sum(), batch)[0] for network in (encoder, plain)]
    assert largest(found[1][-1, :, 4]) > 0.1  # an empty layer's is not zero
    assert_close({"maps": found[0]}, {"maps": found[1]}, 1e-11)


def test_gradients_stop_at_the_parameters() -> None:
    encoder = Encoder(5)
    functions, leaves = [encoder(maps(4, 5, torch.float32)).grad_fn], set()
    while functions:
        function = functions.pop()
        leaves |= {id(function.variable)} if hasattr(function, "variable") else set()
        functions += [earlier for earlier, _ in function.next_functions if earlier is not None]
    assert leaves == {id(parameter) for parameter in encoder.parameters()}


def test_maps_are_neither_copied_nor_transposed() -> None:
    output = Decoder(5)(torch.randn(3, 128))
    assert output.transpose(1, 2).is_contiguous()
    assert reconstruction_loss(output, torch.zeros_like(output)).shape == ()


@pytest.mark.parametrize("shape", [(2, 12, 64, 100), (2, 65, 12, 100), (2, 12, 100, 65)])
def test_maps_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"give \(maps, 12, 65, 100\)"):
        Encoder()(torch.zeros(shape))


def test_bits_are_the_same_again() -> None:
    """What the determinism flags refuse would raise."""
    sequence_batch, lengths = torch.randn(4, 9, 256), torch.tensor([9, 1, 4, 4])
    batch = maps(4, 5, torch.float32)
    torch.use_deterministic_algorithms(True)
    try:
        runs = []
        for _ in range(2):
            torch.manual_seed(5)
            autoencoder, predictor = Autoencoder(5), Predictor()
            reconstruction_loss(autoencoder(batch), batch).backward()
            predictor(sequence_batch, lengths).sum().backward()
            runs.append([*gradients(autoencoder).values(), *gradients(predictor).values()])
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(first, second) for first, second in zip(*runs, strict=True))


# --- the predictor ---


def a_predictor() -> Predictor:
    """A predictor whose attention is far from even."""
    network = Predictor().double().eval()
    with torch.no_grad():
        network.attention.weight.mul_(20)
    return network


LENGTHS = torch.tensor([3, 1, 23, 7, 7, 22, 1, 12])


def sequences(steps: int = 23) -> Tensor:
    return torch.randn(len(LENGTHS), steps, 256, dtype=torch.float64)


def written_out(network: Predictor, sequence: Tensor) -> Tensor:
    """Equations 19 to 24 for one sequence (T, 256)."""
    outputs, states = network.gru(sequence)
    last = torch.cat([states[-2], states[-1]])
    weights = torch.softmax(outputs @ network.attention.weight[0], 0)
    pooled = torch.cat([last, weights @ outputs])
    hidden = functional.relu(network.dense1.weight @ pooled + network.dense1.bias)
    return torch.sigmoid(network.dense2.weight @ hidden + network.dense2.bias)[0]


def test_parameters_of_the_predictor() -> None:
    network = Predictor()
    assert count(network) == 658_946
    assert count(network.gru) == 592_896
    assert count(network.attention, network.dense1, network.dense2) == 66_050


def test_predictor_is_that_of_the_table() -> None:
    network = Predictor()
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    backward = {name: shape for name, shape in shapes.items() if name.endswith("_reverse")}
    assert {
        f"{name}_reverse": shape for name, shape in TABLE_13.items() if name.startswith("gru")
    } == backward
    assert {name: shape for name, shape in shapes.items() if name not in backward} == TABLE_13
    assert (network.gru.dropout, network.dropout.p, network.gru.batch_first) == (0.1, 0.1, True)
    assert count(Predictor(128)) == 658_946 - 2 * 384 * 128


def test_predictions_are_the_equations_one_sequence_at_a_time() -> None:
    network, given = a_predictor(), sequences()
    alone = [written_out(network, one[:length]) for one, length in zip(given, LENGTHS, strict=True)]
    found = network(given, LENGTHS)
    assert found.shape == (8,)
    assert float(found.detach().std()) > 1e-3
    torch.testing.assert_close(found, torch.stack(alone), rtol=1e-13, atol=1e-13)


def test_predictions_depend_on_neither_company_nor_padding() -> None:
    network, given = a_predictor(), sequences()
    found = network(given, LENGTHS)
    order = torch.randperm(len(LENGTHS))
    torch.testing.assert_close(network(given[order], LENGTHS[order]), found[order], rtol=1e-14, atol=1e-14)
    for row, length in enumerate(LENGTHS.tolist()):
        for steps in (length, 23):
            alone = network(given[row : row + 1, :steps], LENGTHS[row : row + 1])
            torch.testing.assert_close(alone, found[row : row + 1], rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("rubbish", [0.0, 1e300, float("inf"), float("nan")])
def test_padding_is_not_read(rubbish: float) -> None:
    network, given = a_predictor(), sequences()
    found = network(given, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        given[row, length:] = rubbish
    assert torch.equal(network(given, LENGTHS), found)


def test_the_comparison_would_notice_padding_that_is_read() -> None:
    network, given = a_predictor(), sequences()
    padding = torch.arange(23) >= LENGTHS[:, None]
    given[padding] = 0
    right, _ = network._recur(given, LENGTHS)
    wrong, states = network.gru(given)
    right, wrong = (outputs.masked_fill(padding[..., None], 0) for outputs in (right, wrong))
    # Zeros are read first by the backward direction: its outputs are others, in both layers.
    assert largest(right - wrong) > 1e-3
    pooled = torch.cat([states[-2], states[-1], (network._attend(wrong, LENGTHS)[:, None] @ wrong)[:, 0]], 1)
    unpacked = torch.sigmoid(network.dense2(functional.relu(network.dense1(pooled))))[:, 0]
    differing = (unpacked - network(given, LENGTHS)).abs() > 1e-4
    assert differing.tolist() == [length < 23 for length in LENGTHS.tolist()]


def test_attention_sums_to_one_and_is_zero_on_padding() -> None:
    network, given = a_predictor(), sequences(30)
    weights = network.attention_weights(given, LENGTHS)
    padding = torch.arange(30) >= LENGTHS[:, None]
    assert weights.shape == (8, 30)
    assert (weights[padding] == 0).all()
    assert (weights[~padding] > 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(8, dtype=torch.float64), rtol=1e-14, atol=0)
    assert largest(weights[2]) > 2 / 23


def test_dropout_before_the_dense_layers() -> None:
    network, given = a_predictor(), sequences()
    still = network(given, LENGTHS)
    network.dropout.train()
    first, second = network(given, LENGTHS), network(given, LENGTHS)
    assert largest(first - second) > 1e-4
    assert largest(first - still) > 1e-4


@pytest.mark.parametrize("lengths", [[0, 1], [1, 24], [1], [1, 2, 3]])
def test_lengths_that_cannot_be_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match=r"one in 1 … 23 is needed for each of the 2"):
        Predictor()(torch.zeros(2, 23, 256), torch.tensor(lengths))
