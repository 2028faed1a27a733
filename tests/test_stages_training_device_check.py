"""Whether a build of torch has code for a device: the wrong wheel on a GTX 1080 Ti is to be found."""

from __future__ import annotations

import pytest

from stages.training.device_check import devices, supported

CUDA_126 = ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]
CUDA_128 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]


@pytest.mark.parametrize(
    ("built_for", "capability", "expected"),
    [
        (CUDA_126, (6, 1), True),
        (CUDA_128, (6, 1), False),
        (CUDA_128, (8, 9), True),
        (CUDA_126, (10, 0), False),
        (["sm_62"], (6, 1), False),
        (["compute_60"], (6, 1), True),
        (["compute_60"], (12, 0), True),
        (["sm_90a"], (9, 0), True),
        ([], (6, 1), False),
        (["gfx906"], (6, 1), False),
    ],
)
def test_machine_code_runs_within_its_major_version_and_portable_code_on_what_came_later(
    built_for: list[str], capability: tuple[int, int], expected: bool
) -> None:
    assert supported(built_for, capability) is expected


def test_this_machine_can_be_asked() -> None:
    assert devices().unsupported == ()
