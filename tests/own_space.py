"""The search space of docs/extending.md, which lives outside of the packages, as files for tests."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
SPACE = "architectures.space=ladder:Ladder"


def write_ladder(folder: Path) -> Path:
    """Write `ladder.py`, and return its path."""
    found = re.search(r"^`ladder\.py`:\n\n```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    path = folder / "ladder.py"
    path.write_text(found[1], encoding="utf-8")
    return path
