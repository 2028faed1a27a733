"""Side by side: methods fitted to true labels and to labels in random order, on published tables.

    OMP_NUM_THREADS=1 PYTHONPATH=.:studies .venv/bin/python studies/permuted_labels.py trees|ngb

`trees`: cell trees, 200 labels, 1,000 others, ten draws. `ngb`: Omni-NGB on the 400 networks that have proxies, 200
labels, twelve draws, five hyper-parameters each; inputs as in `hybrids_beside_parameters.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from hybrids_beside_parameters import numbers, prefix, table

from stages.baselines.method import Scorer
from stages.baselines.methods import cell_trees, omni_ngb
from stages.scoring.metrics import kendall

LABELS, TESTED = 200, 1000


def main() -> None:
    """Print mean, deviation and standard error of τ for both."""
    rows, which = table("nasbench201.csv.gz"), sys.argv[1]
    fit: Callable[..., Scorer] = cell_trees.fit_cells
    draws, settings = 10, dict[str, int]()
    if which == "ngb":
        known = {row["arch_index"]: row for row in table("zero_cost_proxies.csv.gz")}
        rows = [row | known[row["arch_index"]] for row in rows if row["arch_index"] in known]
        fit, draws, settings = omni_ngb.fit, 12, {"draws": 5}
    for order in ("true", "permuted"):
        taus = []
        for seed in range(draws):
            drawn = np.random.default_rng(seed).permutation(len(rows))[: LABELS + TESTED]
            train, test = ([rows[i] for i in part] for part in (drawn[:LABELS], drawn[LABELS:]))
            labels, truth = (numbers(part, "cifar10_test") / 100 for part in (train, test))
            if order == "permuted":
                labels = np.random.default_rng(100 + seed).permutation(labels)
            taus.append(kendall(fit(prefix(train), labels, seed, **settings)(prefix(test)), truth))
        found = np.nan_to_num(taus)
        spread = found.std(ddof=1)
        print(
            f"{which}, {order}: {found.mean():+.3f} ± {spread:.3f}, standard error {spread / draws**0.5:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
