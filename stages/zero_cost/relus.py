"""The ReLUs of a network as modules, one for each convolution, block by block."""

from __future__ import annotations

from torch import nn

from stages.search_spaces.nasbench201.network import Network


def relus_by_block(network: nn.Module) -> list[list[nn.ReLU]]:
    """Return the ReLUs of each cell or reduction, and last the one before the pooling.

    A `Network` is changed: each of its convolutions gets a ReLU of its own, as in the published code of the
    proxies; what is unreachable is never run (R23) and so is never seen. Any other module is one block.
    """
    if not isinstance(network, Network):
        return [_relus(network)]
    network.separate_relus()
    return [*map(_relus, network.cells), [network.relu]]


def _relus(module: nn.Module) -> list[nn.ReLU]:
    return [each for each in module.modules() if isinstance(each, nn.ReLU)]
