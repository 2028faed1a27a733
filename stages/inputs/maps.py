"""Shuffled batches of feature maps from a store, in bounded memory: read ahead, and kept where they fit (R15)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.inputs.variants import Variant
from storage_schema import schema
from storage_schema.read import FeatureMaps, normalized

Pair = tuple[int, int]
"""An architecture's index and a snapshot's number."""


class Maps:
    """The maps that a model sees.

    Args:
        path: The store of training dynamics.
        kind: `weights` or `gradients`.
        variant: What the model sees of them.
        architectures: Architecture string of every index of the store.
        cap: Layers of a map (R2).
        cache_megabytes: Maps kept in memory; the first ones read are, as every epoch reads all of them once.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        variant: Variant,
        architectures: Sequence[str],
        cap: int = schema.LAYER_CAP,
        cache_megabytes: int = 0,
    ) -> None:
        self._store = FeatureMaps(path, kind, cap)
        self._variant, self._architectures, self._cap = variant, architectures, cap
        self._room = cache_megabytes * 1_000_000
        self._kept: dict[Pair, NDArray[np.float32]] = {}

    def pairs(self, architectures: Sequence[int]) -> list[Pair]:
        """Return every pair of architecture and snapshot that the variant sees."""
        return [(a, k) for a in architectures for k in snapshots(self._variant, self._store.shape[1])]

    def batch(self, pairs: Sequence[Pair]) -> NDArray[np.float32]:
        """Return maps, float32 (len(pairs), layer cap, feature 12, value 100), zero beyond the layers there are."""
        shape = (len(pairs), self._cap, len(schema.FEATURES), schema.VALUES)
        found = np.zeros(shape, np.float32)
        for position, pair in enumerate(pairs):
            layers = self._layers(pair)
            found[position, : len(layers)] = layers
        return found

    def batches(self, groups: Sequence[Sequence[Pair]]) -> Iterator[NDArray[np.float32]]:
        """Yield the batch of each group of pairs, in order; the next one is read meanwhile."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="maps") as reader:
            ahead = [reader.submit(self.batch, group) for group in groups[:1]]
            for following in groups[1:]:
                ready = ahead.pop().result()
                ahead.append(reader.submit(self.batch, following))
                yield ready
            yield from (last.result() for last in ahead)

    def _layers(self, pair: Pair) -> NDArray[np.float32]:
        """Normalized (layer, feature, value) of the layers there are."""
        kept = self._kept.get(pair)
        if kept is not None:
            return kept
        rows = self._variant.view(self._store.rows(*pair), self._architectures[pair[0]])
        found = normalized(rows).transpose(0, 2, 1)
        if found.nbytes <= self._room:
            found = np.ascontiguousarray(found)
            self._room -= found.nbytes
            self._kept[pair] = found
        return found


def snapshots(variant: Variant, count: int) -> range:
    """Return the numbers of the snapshots that a variant sees, of a store that holds `count`."""
    return range(1) if variant.snapshots == "initial" else range(1, count)


def grouped(pairs: Sequence[Pair], size: int) -> list[Sequence[Pair]]:
    """Cut pairs into batches; a last batch of one joins the one before, as BatchNorm cannot train on it (R15)."""
    groups = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    if len(groups) > 1 and len(groups[-1]) == 1:
        groups[-2:] = [[*groups[-2], *groups[-1]]]
    return groups
