"""Whether this build of torch runs on this machine's devices."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Devices:
    """What torch sees.

    Attributes:
        build: CUDA version that torch was built for; empty for a CPU build.
        driver: Whether a GPU's driver is there and answers torch.
        names: Models of the GPUs.
        unsupported: For each GPU that the build has no code for, what it is and what the build has.
    """

    build: str
    driver: bool
    names: tuple[str, ...]
    unsupported: tuple[str, ...]


def devices() -> Devices:
    """Ask torch."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    has = torch.cuda.get_arch_list() if count else []
    lacking = []
    for number in range(count):
        capability = torch.cuda.get_device_capability(number)
        if not supported(has, capability):
            name, (major, minor) = torch.cuda.get_device_name(number), capability
            lacking.append(f"{name} is sm_{major}{minor}, torch has {' '.join(has)}")
    return Devices(
        build=torch.version.cuda or "",
        driver=count > 0,
        names=tuple(torch.cuda.get_device_name(number) for number in range(count)),
        unsupported=tuple(lacking),
    )


def supported(built_for: Sequence[str], capability: tuple[int, int]) -> bool:
    """Tell whether a build has code for a device.

    Args:
        built_for: As `torch.cuda.get_arch_list` says: `sm_60` is machine code, which runs on devices of the same
            major version from that minor on; `compute_90` is code that later devices translate.
        capability: Of the device, major and minor.
    """
    for name in built_for:
        found = re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", name)
        if found is None:
            continue
        version = (int(found[2]), int(found[3]))
        same = found[1] == "sm" and version[0] == capability[0]
        if version <= capability and (same or found[1] == "compute"):
            return True
    return False
