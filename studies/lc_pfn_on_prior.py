"""Train a small LC-PFN on its own prior, and set it beside the last value on curves of the prior it has not seen.

    python -m pip install --no-deps --ignore-requires-python lcpfn==0.1.3
    OMP_NUM_THREADS=1 PYTHONPATH=. .venv/bin/python studies/lc_pfn_on_prior.py [OUT.safetensors] [STEPS]

Prints the mean absolute error, at the last of 100 epochs and against the curve without noise, after some epochs.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from stages.baselines.method import Floats
from stages.baselines.methods.lc_pfn import Shape, build, expected, require_package, save

SMALL: Final = Shape(embedding=128, layers=2, bars=100)
BATCH, STEPS, WARM_UP, HIGHEST_RATE = 64, 600, 50, 1e-3
ASKED = 8  # epochs that a batch is asked for, besides the last
HELD_OUT: Final = 1000
EPOCHS: Final = (5, 10, 20, 50)


def draw(n: int, seed: int, epochs: int = SMALL.epochs) -> tuple[Floats, Floats]:
    """Draw n curves of the prior, (n, epochs) each: without noise and with."""
    from lcpfn import sample_from_prior

    generator = np.random.RandomState(seed)
    pairs = [sample_from_prior(generator, epochs)() for _ in range(n)]
    return np.array([exact for exact, _ in pairs]), np.array([noisy for _, noisy in pairs])


def train(steps: int = STEPS, shape: Shape = SMALL, seed: int = 0, known: tuple[int, int] = (1, 99)) -> Any:
    """Train a network to predict noisy later values of noisy curves, of which so many are known, fewer more often."""
    require_package()

    generator = np.random.default_rng(seed)
    values = torch.tensor(np.sort(draw(HELD_OUT, seed + 1)[1].ravel()), dtype=torch.float32)
    borders = values[torch.linspace(0, len(values) - 1, shape.bars + 1).long()]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build(shape, borders).train()
    optimizer = torch.optim.Adam(model.parameters())
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, HIGHEST_RATE, total_steps=steps, pct_start=min(0.3, WARM_UP / steps)
    )
    for step in range(steps):
        curves = torch.tensor(draw(BATCH, seed + 2 + step)[1].T, dtype=torch.float32)
        seen = int(np.exp(generator.uniform(*np.log([known[0], known[1] + 1]))))
        later = generator.permutation(np.arange(seen, shape.epochs - 1))[:ASKED]
        chosen = np.concatenate([np.arange(seen), later, [shape.epochs - 1]])
        x = torch.tensor(chosen + 1.0, dtype=torch.float32)[:, None, None].expand(-1, BATCH, 1)
        logits = model((x, curves[:seen]), single_eval_pos=seen)
        loss = model.criterion(logits, curves[chosen[seen:]]).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rates.step()
    return model.eval()


def errors(model: Any, known: int, exact: Floats, noisy: Floats) -> dict[str, Floats]:
    """Return (n,) absolute errors at the last epoch after some are known."""
    end = float(exact.shape[1])
    predicted = expected(model, np.arange(1.0, known + 1), noisy[:, :known], np.array([end]))[:, 0]
    answers = {
        "LC-PFN": predicted,
        "last value": noisy[:, known - 1],
        "mean of the last 5": noisy[:, max(0, known - 5) : known].mean(1),
    }
    return {name: np.abs(answer - exact[:, -1]) for name, answer in answers.items()}


def main() -> None:
    """Train, print, and write the network where asked to."""
    torch.set_num_threads(1)
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else STEPS
    began = time.perf_counter()
    model = train(steps)
    print(f"{steps} steps in {time.perf_counter() - began:.0f} s")
    held_out = draw(HELD_OUT, 2**31)
    for known in EPOCHS:
        found = errors(model, known, *held_out)
        gain = found["last value"] - found["LC-PFN"]
        low, high = gain.mean() + np.array([-1.96, 1.96]) * gain.std(ddof=1) / HELD_OUT**0.5
        told = ", ".join(f"{name} {values.mean():.4f}" for name, values in found.items())
        print(
            f"after {known:2} of {SMALL.epochs} epochs: {told}; better than last value by {low:.4f} to {high:.4f}"
        )
    if len(sys.argv) > 1:
        save(Path(sys.argv[1]), model, SMALL)


if __name__ == "__main__":
    main()
