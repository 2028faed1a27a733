"""Kernels between the images of a batch, float64 on the CPU: small, and the same on any device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Kernel = NDArray[np.float64]


def correlations(rows: Tensor) -> Kernel:
    """Return the (n, n) Pearson correlations between the rows of (n, …); NaN where a row is constant."""
    flat = rows.detach().flatten(1).double()
    flat = flat - flat.mean(1, keepdim=True)
    # A constant row is 0/0.
    unit = flat / flat.norm(dim=1, keepdim=True)
    found: Kernel = (unit @ unit.T).cpu().numpy()
    return found


def agreements(rows: Tensor) -> Kernel:
    """Return the (n, n) numbers of places in which the rows of (n, …) are both positive or both not."""
    codes = (rows.detach().flatten(1) > 0).float()  # counts below 2^24 are exact
    found: Kernel = (codes @ codes.T + (1 - codes) @ (1 - codes).T).double().cpu().numpy()
    return found


def log_determinant(kernel: Kernel) -> float:
    """Return log |det|; −inf where the matrix is singular."""
    return float(np.linalg.slogdet(kernel)[1])
