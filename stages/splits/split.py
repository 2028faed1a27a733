"""Drawing one trial's split: pure functions of settings, trial and labels (R19).

Architectures are named by their index in the plan, accuracies are fractions. What is drawn are units: single
architectures, or whole classes of isomorphic twins where these are to stay together.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeVar

import numpy as np

from stages.search_spaces.space import count_with_duplicate
from stages.splits.config import ALL, SplitsConfig
from stages.splits.errors import SplitError
from stages.training.order import generator

EDGES: Final = tuple(k / 20 for k in range(21))
"""Edges of the accuracy bins of 5 points; an edge belongs to the bin above it, 1.0 to the last bin."""

SMALLEST_STRATUM: Final = 10
"""A bin of ten gives its share to each part of the paper's (2 test, 1 validation, 7 train) and of the folds'."""

FEWEST: Final = 20
"""With fewer usable architectures there is no split."""

SMALLEST_PART: Final = 2
"""A rank correlation needs two architectures."""

Unit = tuple[int, ...]
T = TypeVar("T")


@dataclass(frozen=True)
class Split:
    """Who trains, validates and tests in one trial: indices in the plan, ascending.

    Attributes:
        seed: The trial's seed.
        train: Training architectures by train size; a smaller set is part of a larger one.
    """

    trial: int
    seed: int
    train: dict[str, tuple[int, ...]]
    validation: tuple[int, ...]
    test: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check order, nesting and disjointness, so that nothing tested was ever trained on.

        Raises:
            SplitError: One of them does not hold.
        """
        nested = sorted(self.train.values(), key=len)
        parts = (*nested, self.validation, self.test)
        ascending = all(a < b for part in parts for a, b in pairwise(part))
        grows = all(set(small) <= set(large) for small, large in pairwise(nested))
        ends = [set(part) for part in (*nested[-1:], self.validation, self.test)]
        if not ascending or not grows or sum(map(len, ends)) != len(set().union(*ends)):
            raise SplitError(
                f"the split of trial {self.trial} is not ascending, nested and disjoint; draw it again"
            )


def split(config: SplitsConfig, trial: int, labels: Mapping[int, float], classes: Sequence[str]) -> Split:
    """Draw the split of one trial: test, then validation, then the order of training, each stratified.

    Test and validation take each stratum's share by largest remainder; every train size is a prefix of one
    interleaved order, whatever the other sizes are. With `keep_twins_together`, the numbers of test and
    validation are upper bounds that are missed only where no class of twins fits, and folds are as even as the
    classes let them be; train sizes are exact always.

    Args:
        config: The protocol.
        trial: From 0 to `config.num_trials - 1`.
        labels: Accuracy of every usable architecture, by index.
        classes: Isomorphism class of every architecture of the plan.

    Raises:
        SplitError: A label is not right, or there are too few architectures for the numbers asked for.
    """
    check_labels(labels)
    _check_indices(config, trial, labels, len(classes))
    _check_number(config, len(labels))
    groups = strata(labels)
    units = _units(groups, classes if config.keep_twins_together else None)
    seed = config.seed + trial
    wanted = _validation_number(config, len(labels))
    test = _test(config, trial, units, len(labels) - wanted)
    validation = _draw(_without(units, test), wanted, generator(seed, "split validation", 0))
    _check_part(config, "validation", len(validation))
    rest = set(labels).difference(test, validation)
    pool = [[i for i in group if i in rest] for group in groups]
    order = _interleave(pool, generator(seed, "split train", 0))
    train = {size: tuple(sorted(order[: _count(size, len(order))])) for size in config.train_sizes}
    return Split(trial=trial, seed=seed, train=train, validation=validation, test=test)


def strata(labels: Mapping[int, float]) -> list[list[int]]:
    """Group architectures by bins of 5 points, from low to high; indices ascending.

    A group of fewer than `SMALLEST_STRATUM` goes on with the next higher bin; what is left at the top joins
    the group below.
    """
    bins: list[list[int]] = [[] for _ in range(len(EDGES) - 1)]
    for index, label in labels.items():
        bins[_bin(label)].append(index)
    groups: list[list[int]] = [[]]
    for members in bins:
        if len(groups[-1]) >= SMALLEST_STRATUM:
            groups.append([])
        groups[-1] += members
    if len(groups) > 1 and len(groups[-1]) < SMALLEST_STRATUM:
        top = groups.pop()
        groups[-1] += top
    return [sorted(group) for group in groups]


def count_twins(split: Split, classes: Sequence[str]) -> dict[str, int]:
    """Count, for each train size, the test architectures with an isomorphic twin among the training ones.

    Args:
        split: One trial's.
        classes: Isomorphism class of every architecture of the plan.
    """
    tested = [classes[i] for i in split.test]
    return {
        size: count_with_duplicate(tested, [classes[i] for i in train]) for size, train in split.train.items()
    }


def histogram(labels: Mapping[int, float]) -> list[tuple[float, float, int]]:
    """Return the sample's accuracy histogram: (from, to, count) of all 20 bins of 5 points.

    Raises:
        SplitError: A label is missing or no fraction.
    """
    check_labels(labels)
    counts = np.bincount([_bin(label) for label in labels.values()], minlength=len(EDGES) - 1)
    return [(low, high, int(count)) for (low, high), count in zip(pairwise(EDGES), counts, strict=True)]


def check_labels(labels: Mapping[int, float]) -> None:
    """Check that every usable architecture has an accuracy in [0, 1].

    Raises:
        SplitError: The first one that has not, with its value.
    """
    for index in sorted(labels):
        label: float | None = labels[index]
        if label is None or label != label:
            raise SplitError(f"architecture {index} has no label ({label}); label it or leave it out")
        if not 0 <= label <= 1:
            raise SplitError(
                f"architecture {index} has label {label}, outside [0, 1]; give accuracies as fractions"
            )


def _check_indices(config: SplitsConfig, trial: int, labels: Mapping[int, float], planned: int) -> None:
    if not 0 <= trial < config.num_trials:
        raise SplitError(f"there is no trial {trial}; choose one of 0 … {config.num_trials - 1}")
    for index in labels:
        if not 0 <= index < planned:
            raise SplitError(
                f"label of architecture {index}, but the plan has {planned}; use this plan's labels"
            )


def _check_number(config: SplitsConfig, usable: int) -> None:
    if usable < FEWEST:
        raise SplitError(f"{usable} usable architectures cannot be split; collect {FEWEST} or more")
    if config.test == "folds":
        if usable < SMALLEST_PART * config.folds:
            raise SplitError(
                f"splits.folds = {config.folds} leaves fewer than {SMALLEST_PART} of {usable} architectures "
                f"to a fold; use at most {usable // SMALLEST_PART}"
            )
        return
    smallest = min((int(size) for size in config.train_sizes if size != ALL), default=SMALLEST_PART)
    needed = config.test_number + config.validation_number + smallest
    if usable < needed:
        raise SplitError(
            f"{usable} usable architectures are fewer than the {needed} that splits.test = "
            f'"{config.test}" needs: {config.test_number} test, {config.validation_number} validation and '
            f'{smallest} train; collect more, or set splits.test = "folds", which is for small experiments'
        )


def _check_part(config: SplitsConfig, name: str, number: int) -> None:
    if number < SMALLEST_PART:
        raise SplitError(
            f"splits.keep_twins_together = {config.keep_twins_together} leaves {number} architectures for "
            f"{name}: the classes of twins are too large; set it to false or collect more"
        )


def _check_sizes(config: SplitsConfig, left: int) -> None:
    fits = [size for size in config.train_sizes if _count(size, 0) <= left]
    if len(fits) < len(config.train_sizes):
        larger = " ".join(size for size in config.train_sizes if size not in fits)
        fitting = " ".join(dict.fromkeys((*fits, ALL)))
        raise SplitError(
            f"splits.sizes: {larger} is more than the {left} architectures that are left for training; "
            f'those that fit: "{fitting}"'
        )


def _validation_number(config: SplitsConfig, usable: int) -> int:
    if config.test != "folds":
        return config.validation_number
    return max(SMALLEST_PART, round(usable / 10))


def _count(size: str, everyone: int) -> int:
    return everyone if size == ALL else int(size)


def _bin(label: float) -> int:
    return bisect_right(EDGES[1:-1], label)


def _units(groups: list[list[int]], classes: Sequence[str] | None) -> list[list[Unit]]:
    """Return the units by stratum: each architecture, or each class of twins in its middle member's."""
    if classes is None:
        return [[(index,) for index in group] for group in groups]
    stratum = {index: k for k, group in enumerate(groups) for index in group}
    twins: dict[str, list[int]] = {}
    for index in sorted(stratum):
        twins.setdefault(classes[index], []).append(index)
    units: list[list[Unit]] = [[] for _ in groups]
    for members in twins.values():
        middle = sorted(stratum[index] for index in members)[len(members) // 2]
        units[middle].append(tuple(members))
    return units


def _test(config: SplitsConfig, trial: int, units: list[list[Unit]], others: int) -> Unit:
    """Draw a trial's test set; `others` is what it and training have together."""
    if config.test != "folds":
        _check_sizes(config, others - config.test_number)
        seed = config.seed + (trial if config.test == "resampled" else 0)
        test = _draw(units, config.test_number, generator(seed, "split test", 0))
        _check_part(config, "test", len(test))
        return test
    # Dealt once for all trials, so that each network is tested exactly once; and one trial is refused as all are.
    folds = _deal(units, config.folds, generator(config.seed, "split folds", 0))
    left = others - max(map(len, folds))
    _check_part(config, "test", min(map(len, folds)))
    _check_part(config, "train", left)
    _check_sizes(config, left)
    return folds[trial]


def _draw(units: list[list[Unit]], number: int, random: np.random.Generator) -> Unit:
    """Draw units of `number` architectures at most, from each stratum its share.

    A class of twins larger than its stratum's share is passed over, and the room left is filled from any
    stratum; single architectures always fit, so that the number is met exactly.
    """
    shuffled = _shuffled(units, random)
    shares = _apportion(number, [sum(map(len, stratum)) for stratum in shuffled])
    drawn: list[int] = []
    passed: list[Unit] = []
    for stratum, share in zip(shuffled, shares, strict=True):
        room = share
        for unit in stratum:
            if len(unit) <= room:
                drawn += unit
                room -= len(unit)
            else:
                passed.append(unit)
    # In the order of the strata's shuffles, so what is drawn follows from the seed alone.
    for unit in passed:
        if len(unit) <= number - len(drawn):
            drawn += unit
    return tuple(sorted(drawn))


def _deal(units: list[list[Unit]], folds: int, random: np.random.Generator) -> list[Unit]:
    """Deal every unit to the fold with the fewest of its stratum, then the fewest in all; large ones first."""
    dealt: list[list[int]] = [[] for _ in range(folds)]
    for stratum in _shuffled(units, random):
        here = [0] * folds
        for unit in sorted(stratum, key=len, reverse=True):
            fold = min(range(folds), key=lambda k: (here[k], len(dealt[k])))
            dealt[fold] += unit
            here[fold] += len(unit)
    return [tuple(sorted(fold)) for fold in dealt]


def _interleave(pool: list[list[int]], random: np.random.Generator) -> list[int]:
    """Order architectures so that each prefix has its share of each stratum: the one most behind is next.

    A prefix has less than one too many of any stratum, and hardly ever one too few.
    """
    shuffled = _shuffled(pool, random)
    sizes, taken = [len(stratum) for stratum in shuffled], [0] * len(shuffled)
    whole = sum(sizes)
    order = []
    for length in range(1, whole + 1):
        behind = [length * size - whole * have for size, have in zip(sizes, taken, strict=True)]
        k = behind.index(max(behind))
        order.append(shuffled[k][taken[k]])
        taken[k] += 1
    return order


def _apportion(number: int, sizes: Sequence[int]) -> list[int]:
    """Return each stratum's share of `number`, rounded up or down by largest remainder; ties in the order given."""
    whole = sum(sizes)
    shares = [number * size // whole for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda k: -(number * sizes[k] % whole))
    for k in by_remainder[: number - sum(shares)]:
        shares[k] += 1
    return shares


def _shuffled(groups: Sequence[Sequence[T]], random: np.random.Generator) -> list[list[T]]:
    """Shuffle the strata, which decides ties between them, and the members of each."""
    return [_permuted(groups[k], random) for k in random.permutation(len(groups))]


def _permuted(members: Sequence[T], random: np.random.Generator) -> list[T]:
    return [members[k] for k in random.permutation(len(members))]


def _without(units: Iterable[Sequence[Unit]], drawn: Unit) -> list[list[Unit]]:
    gone = set(drawn)
    return [[unit for unit in stratum if unit[0] not in gone] for stratum in units]
