"""SemiNAS: a network learns to predict labels from the cell's sequence, and to write it again (Luo et al. 2020).

Semi-supervised: random architectures of the space, labelled by the network of a first round, join a second one.
No network of the space is trained, or looked at: the cell alone is read. Labels are their ranks among the training
architectures; of accuracies the squared error sees little but the few networks near chance.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from stages.baselines.method import Floats, Method, Prefix, Scorer
from stages.baselines.rank_aggregation import ranks
from stages.baselines.sequences import NAS_BENCH_201, sequences_of
from stages.search_spaces.nasbench201.genotype import NUM_GENOTYPES, Genotype
from stages.training.order import generator

if TYPE_CHECKING:
    from stages.baselines.seminas_network import Rounds

SYNTHETIC: Final = 1
"""Synthetic architectures to a labelled one, as in White et al. (2021)."""


def fit(train: Prefix, labels: Floats, seed: int, *, rounds: Rounds | None = None) -> Scorer:
    """Fit to the cells of training architectures.

    Args:
        train: n architectures.
        labels: (n,) fractions.
        seed: Of synthetic architectures, weights, order and dropout.
        rounds: How long, the published epochs if not given.
    """
    from stages.baselines import seminas_network  # here, so that listing methods does not wait for torch

    drawn = random_architectures(SYNTHETIC * len(labels), train.architectures, seed)
    fitted = seminas_network.fit(
        sequences_of(train.architectures),
        ranks(labels),
        sequences_of(drawn),
        NAS_BENCH_201.vocabulary,
        seed,
        rounds or seminas_network.Rounds(),
    )
    return lambda tested: fitted.predict(sequences_of(tested.architectures))


def random_architectures(number: int, apart_from: Collection[str], seed: int) -> list[str]:
    """Draw different architectures of the space that are not among some; fewer where it has no more."""
    order = generator(seed, "synthetic architectures", 0).permutation(NUM_GENOTYPES)
    known = set(apart_from)
    drawn = (str(Genotype.from_number(int(index))) for index in order[: number + len(known)])
    return [text for text in drawn if text not in known][:number]


SEMINAS: Final = Method(
    name="SemiNAS",
    kind="cell",
    fit=fit,
    source="Luo et al. 2020, as in White et al. 2021",
)
