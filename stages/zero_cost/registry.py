"""The proxies by name: what computes them, on which weights, from what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from stages.zero_cost.az_nas import az_nas
from stages.zero_cost.batch import Batch
from stages.zero_cost.gradients import gradients
from stages.zero_cost.jacov import jacov
from stages.zero_cost.naswot import naswot
from stages.zero_cost.pnorm import pnorm
from stages.zero_cost.synflow import synflow
from stages.zero_cost.vkdnw import vkdnw
from stages.zero_cost.wrcor import wrcor


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """One pass over a network, which gives one column or several.

    Attributes:
        compute: Takes a network, which stays as it is, and a batch; returns values by column.
        weights: `collected` are those that training begins with; `kaiming_normal` the source prescribes.
        images: `data` is the experiment's; `noise` is what the published figures were made with.
    """

    compute: Callable[[Any, Batch], Mapping[str, float]]
    weights: Literal["collected", "kaiming_normal"] = "collected"
    images: Literal["data", "noise"] = "data"


PROXIES: Final[dict[str, Proxy]] = {
    "synflow": Proxy(compute=synflow),
    "gradients": Proxy(compute=gradients),
    "naswot": Proxy(compute=naswot),
    "jacov": Proxy(compute=jacov),
    "pnorm": Proxy(compute=pnorm),
    "wrcor": Proxy(compute=wrcor),
    "az_nas": Proxy(compute=az_nas, weights="kaiming_normal", images="noise"),
    "vkdnw": Proxy(compute=vkdnw, weights="kaiming_normal", images="noise"),
}
