"""Scores that combine columns of a whole set, by hand on a few architectures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stages.baselines.methods import rank_aggregation as aggregation
from stages.zero_cost.columns import COLUMNS

NAN = math.nan


def columns(**values: list[float]) -> dict[str, np.ndarray]:
    return {name: np.array(found, dtype=np.float64) for name, found in values.items()}


def test_ranks_share_ties_and_nan_is_below_everything() -> None:
    assert aggregation.ranks(np.array([5.0, NAN, 7.0, 5.0, -1e300])).tolist() == [3.5, 1, 5, 3.5, 2]


def test_az_nas_by_hand() -> None:
    found = aggregation.az_nas(
        columns(
            expressivity=[1.0, 2.0, 3.0, 4.0],
            progressivity=[0.1, 0.4, 0.2, 0.3],
            trainability=[NAN, NAN, -2.0, -1.0],
            complexity=[10, 20, 20, 5],
        )
    )
    ranks = [(1, 1, 1.5, 2), (2, 4, 1.5, 3.5), (3, 2, 3, 3.5), (4, 3, 4, 1)]
    assert found == pytest.approx([sum(math.log(rank / 4) for rank in row) for row in ranks])


def test_vkdnw_orders_by_tensors_and_then_by_entropy() -> None:
    found = aggregation.vkdnw(
        columns(vkdnw_tensors=[60, 60, 15, 60, NAN], vkdnw_entropy=[0.1, 2.0, 2.2, 0.1, NAN])
    )
    assert found.tolist() == [3.5, 5, 2, 3.5, 1]


def test_vkdnw_s_aggregate_by_hand() -> None:
    found = aggregation.vkdnw_aggregate(
        columns(
            vkdnw_tensors=[60, 15],
            vkdnw_entropy=[0.1, 2.0],
            jacov=[-65, -70],
            expressivity=[1, 2],
            trainability=[-1, -1],
            complexity=[7, 9],
        )
    )
    half, tie = math.log(0.5), math.log(0.75)
    assert found == pytest.approx([tie + half + half, half + half + tie])


def test_a_majority_vote_by_hand() -> None:
    votes = [np.array(v) for v in ([3.0, 2.0, 1.0], [1.0, 3.0, 2.0], [3.0, 2.0, 1.0])]
    assert aggregation.majority_vote(votes).tolist() == [2, 0, -2]
    circle = [np.array(v) for v in ([3.0, 2.0, 1.0], [1.0, 3.0, 2.0], [2.0, 1.0, 3.0])]
    assert aggregation.majority_vote(circle).tolist() == [0, 0, 0]
    assert aggregation.majority_vote([np.array([NAN, 1.0])] * 3).tolist() == [-1, 1]


def test_a_vote_does_not_depend_on_the_order_of_architectures() -> None:
    drawn = np.random.default_rng(0).integers(0, 5, (3, 40)).astype(float)
    order = np.random.default_rng(1).permutation(40)
    whole = aggregation.majority_vote(list(drawn))
    assert np.array_equal(aggregation.majority_vote(list(drawn[:, order])), whole[order])


def test_every_aggregate_is_made_of_the_stored_columns_that_it_names() -> None:
    drawn = {name: np.random.default_rng(3).random(6) for name in COLUMNS}
    for aggregate in aggregation.AGGREGATES.values():
        scores = aggregate.compute({name: drawn[name] for name in aggregate.columns})
        assert scores.shape == (6,)
        assert np.isfinite(scores).all()
