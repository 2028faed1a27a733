"""The ReLUs of a network as modules, one for each convolution, block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.search_spaces.space import SearchSpace

if TYPE_CHECKING:
    from torch import nn


def relus_by_block(network: nn.Module, space: SearchSpace) -> list[list[nn.ReLU]]:
    """Return the ReLUs of each block, the stem's with the first one's, and last those outside all blocks.

    The network is changed: each of its convolutions gets a ReLU of its own where the space can do so, as in the
    published code of the proxies; what is unreachable is never run (R23) and so is never seen.

    Raises:
        ValueError: There is none.
    """
    from torch import nn

    space.separate_relus(network)
    groups, seen = list[list[nn.ReLU]](), set[nn.Module]()
    for part in (*space.blocks(network), network):
        groups.append([each for each in part.modules() if isinstance(each, nn.ReLU) and each not in seen])
        seen.update(groups[-1])
    if not seen:
        raise ValueError("it has no ReLU module; ReLUs that are functions cannot be watched")
    return [[each for group in groups[:2] for each in group], *groups[2:]]
