"""Side by side: a training step of the autoencoder as this project runs it and as plain Conv2d modules.

Both have the same parameters and get the same maps, on one thread, with the determinism flags of training. Times are
of the processor, so other jobs on the machine count little; best of some repeats. The rate is of the multiply-adds
that the step needs: no gradient of the maps, no products for layers that an architecture does not have. It is
compared with a product of the first layer's shape in the same run.

Run from the repository's root: `PYTHONPATH=.:tests python tests/benchmarks/bench_cae.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from plain_autoencoder import plain_autoencoder
from stages.nap2.models.autoencoder import Autoencoder, reconstruction_loss
from stages.training.determinism import make_deterministic

LAYERS = 65
FULL, PARTLY = (
    (65, 65),
    (9, 38),
)  # the layers that networks have: all of a map's, or as with two cells a stage
ROW, WIDE, NARROW, EMBEDDING = 1200, 512, 256, 128


def seconds(work: Callable[[], object], repeats: int = 4) -> float:
    """Best of some repeats, of processor time, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def maps(batch: int, dtype: torch.dtype, layers: tuple[int, int]) -> Tensor:
    """Maps of networks with from so many to so many layers, in the memory order of the store."""
    found = torch.randn(batch, LAYERS, ROW // 100, 100, dtype=dtype)
    for one in found:
        one[int(torch.randint(layers[0], layers[1] + 1, ())) :] = 0
    return found.permute(0, 2, 1, 3)


def step(network: nn.Module, batch: Tensor) -> None:
    """Forward, loss and backward."""
    network.zero_grad()
    reconstruction_loss(network(batch), batch).backward()


def multiply_adds(batch: Tensor) -> int:
    """What the step needs: forward and both gradients, but none of the maps."""
    rows = int(batch.abs().sum((1, 3)).count_nonzero())
    outer = ROW * WIDE * (2 * rows + 3 * len(batch) * LAYERS)
    inner = 6 * len(batch) * NARROW * (LAYERS * WIDE + EMBEDDING)
    return outer + inner


def product_rate(batch: int, dtype: torch.dtype) -> float:
    """Multiply-adds a second of a plain matrix product of the first layer's shape."""
    rows, kernel = torch.randn(batch * LAYERS, ROW, dtype=dtype), torch.randn(WIDE, ROW, dtype=dtype)
    out = torch.empty(batch * LAYERS, WIDE, dtype=dtype)
    return out.numel() * ROW / seconds(lambda: torch.mm(rows, kernel.t(), out=out), 8)


def compare(size: int, dtype: torch.dtype, layers: tuple[int, int]) -> None:
    """Print a training step."""
    ours, plain = Autoencoder(LAYERS).to(dtype), plain_autoencoder(LAYERS).to(dtype)
    batch = maps(size, dtype, layers)
    usual = batch.contiguous()
    a, b = seconds(lambda: step(ours, batch)), seconds(lambda: step(plain, usual), 2)
    rate, limit = multiply_adds(batch) / a, product_rate(size, dtype)
    print(
        f"step, batch {size}, {str(dtype)[6:]}, {_named(layers)}  plain {b * 1e3:.0f} ms   ours {a * 1e3:.0f} ms   "
        f"{b / a:.1f}x   {2e-9 * rate:.0f} of {2e-9 * limit:.0f} GFLOP/s, {100 * rate / limit:.0f} %"
    )


def compare_adam() -> None:
    """Print the optimizer's step, by implementation."""
    network, batch = Autoencoder(LAYERS), maps(2, torch.float32, FULL)
    step(network, batch)
    kinds = {"default": {}, "foreach": {"foreach": True}, "fused": {"fused": True}}
    times = {
        name: seconds(torch.optim.Adam(network.parameters(), **options).step)
        for name, options in kinds.items()
    }
    print("Adam  " + "   ".join(f"{name} {1e3 * found:.1f} ms" for name, found in times.items()))


def compare_embedding(size: int, layers: tuple[int, int]) -> None:
    """Print what frozen encoders take."""
    ours, plain = (
        Autoencoder(LAYERS).encoder.eval(),
        plain_autoencoder(LAYERS).get_submodule("encoder").eval(),
    )
    batch = maps(size, torch.float32, layers)
    usual = batch.contiguous()
    with torch.no_grad():
        a, b = seconds(lambda: ours(batch)), seconds(lambda: plain(usual))
    print(
        f"embedding, batch {size}, {_named(layers)}  plain {b * 1e3:.0f} ms   ours {a * 1e3:.0f} ms   {b / a:.1f}x"
    )


def _named(layers: tuple[int, int]) -> str:
    return f"{layers[0]} layers" if layers[0] == layers[1] else f"{layers[0]}-{layers[1]} layers of {LAYERS}"


def main() -> None:
    """Measure and print."""
    make_deterministic(1)
    torch.manual_seed(0)
    for layers in (FULL, PARTLY):
        for size in (128, 32):
            compare(size, torch.float32, layers)
    compare(32, torch.float64, FULL)
    for layers in (FULL, PARTLY):
        compare_embedding(64, layers)
    compare_adam()


if __name__ == "__main__":
    main()
