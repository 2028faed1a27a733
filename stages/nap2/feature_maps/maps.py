"""Shuffled batches of feature maps from a store, in bounded memory: read ahead, and decoded once (R15).

Decoding a map takes longer than a tenth of a training step on it, and every epoch needs all of them. So decoded maps
are kept in a temporary file without a name, which costs page cache and no memory of the process, and is gone with it.
"""

from __future__ import annotations

import errno
import os
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.nap2.feature_maps.variants import Variant
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
        scratch_megabytes: Room for decoded maps in the temporary folder (TMPDIR); 0 decodes every time.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        variant: Variant,
        architectures: Sequence[str],
        cap: int = schema.LAYER_CAP,
        scratch_megabytes: int = 0,
    ) -> None:
        self._store = FeatureMaps(path, kind, cap)
        self._variant, self._architectures, self._cap = variant, architectures, cap
        self._scratch = Scratch(scratch_megabytes * 1_000_000)

    def pairs(self, architectures: Sequence[int]) -> list[Pair]:
        """Return every pair of architecture and snapshot that the variant sees."""
        return [(a, k) for a in architectures for k in snapshots(self._variant, self._store.shape[1])]

    def batch(self, pairs: Sequence[Pair]) -> NDArray[np.float32]:
        """Return maps, float32 (len(pairs), layer cap, feature 12, value 100), zero beyond the layers there are."""
        shape = (len(pairs), self._cap, len(schema.FEATURES), schema.VALUES)
        found = np.zeros(shape, np.float32)
        for place, pair in zip(found, pairs, strict=True):
            if not self._scratch.read(pair, place):
                layers = self._decode(pair)
                place[: len(layers)] = layers
                self._scratch.write(pair, place[: len(layers)])
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

    def _decode(self, pair: Pair) -> NDArray[np.float32]:
        """Normalized (layer, feature, value) of the layers there are."""
        rows = self._variant.view(self._store.rows(*pair), self._architectures[pair[0]])
        return normalized(rows).transpose(0, 2, 1)


class Scratch:
    """Arrays by key in a file that has no name and ends with the process.

    Args:
        room: Bytes that may be kept; what does not fit is not kept.
    """

    def __init__(self, room: int) -> None:
        self._room, self._end = room, 0
        self._kept: dict[Pair, tuple[int, int]] = {}
        if room:
            self._file, name = tempfile.mkstemp(prefix="pipeline-maps-")
            Path(name).unlink()
            weakref.finalize(self, os.close, self._file)

    def read(self, key: Pair, into: NDArray[np.float32]) -> bool:
        """Read a kept array into the first rows of a contiguous one; returns whether it is kept."""
        if key not in self._kept:
            return False
        offset, rows = self._kept[key]
        view, got = into[:rows].reshape(-1).view(np.uint8).data, 0
        while got < len(view):
            read = os.preadv(self._file, [view[got:]], offset + got)
            if not read:
                raise OSError(errno.EIO, "the temporary file of decoded maps is cut off")
            got += read
        return True

    def write(self, key: Pair, rows: NDArray[np.float32]) -> None:
        """Keep a contiguous array, if there is room; a disk that is full ends keeping, and no training."""
        if self._end + rows.nbytes > self._room:
            return
        try:
            written = os.pwrite(self._file, rows.reshape(-1).view(np.uint8).data, self._end)
        except OSError:
            written = 0
        if written < rows.nbytes:
            self._room = 0
            return
        self._kept[key] = (self._end, len(rows))
        self._end += rows.nbytes


def snapshots(variant: Variant, count: int) -> range:
    """Return the numbers of the snapshots that a variant sees, of a store that holds `count`."""
    return range(1) if variant.snapshots == "initial" else range(1, count)


def grouped(pairs: Sequence[Pair], size: int) -> list[Sequence[Pair]]:
    """Cut pairs into batches; a last batch of one joins the one before, as BatchNorm cannot train on it (R15)."""
    groups = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    if len(groups) > 1 and len(groups[-1]) == 1:
        groups[-2:] = [[*groups[-2], *groups[-1]]]
    return groups
