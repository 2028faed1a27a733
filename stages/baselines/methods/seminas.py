"""SemiNAS: a network learns to predict labels from the cell's sequence, and to write it again (Luo et al. 2020).

Semi-supervised: random architectures of the space, labelled by the network of a first round, join a second one.
No network of the space is trained, or looked at: the cell alone is read. Labels are their ranks among the training
architectures; of accuracies the squared error sees little but the few networks near chance.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from stages.baselines.method import Floats, Method, Prefix, Scorer
from stages.baselines.methods.rank_aggregation import ranks
from stages.baselines.methods.sequences import code_of, sequences_of
from stages.search_spaces.space import SearchSpace
from stages.training.order import generator

if TYPE_CHECKING:
    from stages.baselines.methods.seminas_network import Rounds

SYNTHETIC: Final = 1
"""Synthetic architectures to a labelled one, as in White et al. (2021)."""


def fit(train: Prefix, labels: Floats, seed: int, *, rounds: Rounds | None = None) -> Scorer:
    """Fit to the cells of training architectures.

    Args:
        train: n architectures.
        labels: (n,) fractions.
        seed: Of synthetic architectures, weights, order and dropout.
        rounds: How long, the published epochs if not given.

    Raises:
        UnmetNeedError: The space has no cells.
    """
    from stages.baselines.methods import (
        seminas_network,  # here, so that listing methods does not wait for torch
    )

    known = sequences_of(train)
    drawn = random_architectures(train.space, SYNTHETIC * len(labels), train.architectures, seed)
    fitted = seminas_network.fit(
        known,
        ranks(labels),
        sequences_of(replace(train, architectures=tuple(drawn))),
        code_of(train).vocabulary,
        seed,
        rounds or seminas_network.Rounds(),
    )
    return lambda tested: fitted.predict(sequences_of(tested))


def random_architectures(
    space: SearchSpace, number: int, apart_from: Collection[str], seed: int
) -> list[str]:
    """Draw different architectures of a space that are not among some; fewer where it has no more."""
    known = set(apart_from)
    drawn = space.draw(number + len(known), generator(seed, "synthetic architectures", 0), None)
    return [text for text in drawn if text not in known][:number]


SEMINAS: Final = Method(
    name="SemiNAS",
    kind="cell",
    fit=fit,
    source="Luo et al. 2020, as in White et al. 2021",
)
