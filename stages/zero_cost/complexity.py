"""Complexity (Lee & Ham 2024): what one image costs."""

from __future__ import annotations

from typing import Final

from stages.search_spaces.space import summary
from stages.zero_cost.proxy import Batch, Column, Proxy, Subject


def complexity(subject: Subject, batch: Batch) -> dict[str, float]:  # noqa: ARG001  as the others
    """Return the FLOPs that the search space counts."""
    return {"complexity": float(summary(subject.space, subject.architecture, subject.task).flops)}


COMPLEXITY: Final = Proxy(
    name="complexity",
    columns=(
        Column(
            name="complexity",
            meaning="operations of one image's forward pass, by the convention of the search space",
            unit="FLOPs",
        ),
    ),
    source="Lee and Ham 2024",
    compute=complexity,
)
