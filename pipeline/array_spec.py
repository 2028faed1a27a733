"""Which indices: Slurm's own `--array` syntax (`0-999`, `0-99:3`, `1,5,9-12%4`), read and written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from storage_schema.errors import UserError

LARGEST_INDEX: Final = 999_999
"""Beyond any search space at hand (NB-101: 423,624); keeps a slip of the hand from filling the memory."""

_ITEM: Final = re.compile(r"(?P<first>[0-9]+)(?:-(?P<last>[0-9]+)(?::(?P<step>[0-9]+))?)?")
_EXAMPLES: Final = "write 0-999, 0-99:3 or 1,5,9-12, with %4 after it for at most 4 at a time"


class ArraySpecError(UserError, ValueError):
    """A specification of indices that cannot be read, or that names an index which does not exist."""


@dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """Indices in ascending order, each once, and how many of them may run at a time (None: no limit)."""

    indices: tuple[int, ...]
    throttle: int | None = None

    def within(self, count: int) -> Self:
        """Check that every index exists.

        Args:
            count: How many indices there are, from 0.

        Returns:
            The same specification.

        Raises:
            ArraySpecError: The first index that is out of range, and the range.
        """
        for index in self.indices:
            if not 0 <= index < count:
                valid = f"only 0-{count - 1} exist" if count else "there are no indices at all"
                raise ArraySpecError(f"index {index} is out of range: {valid}")
        return self


def parse_array(text: str) -> ArraySpec:
    """Read a specification.

    Args:
        text: Items separated by commas, each `N`, `FIRST-LAST` or `FIRST-LAST:STEP`; `%THROTTLE` may follow.

    Raises:
        ArraySpecError: Empty, malformed, negative, backwards, step or throttle 0, above `LARGEST_INDEX`.
    """
    items, percent, throttle = text.strip().partition("%")
    if not items:
        raise ArraySpecError(f"array {text!r} names no index; {_EXAMPLES}")
    indices: set[int] = set()
    for item in items.split(","):
        indices.update(_parse_item(item, text))
    return ArraySpec(
        indices=tuple(sorted(indices)), throttle=_parse_throttle(throttle, text) if percent else None
    )


def format_array(indices: Iterable[int]) -> str:
    """Write indices as a compact specification, the inverse of `parse_array`.

    Args:
        indices: Any order; duplicates count once.

    Returns:
        Such as `0-9,12,20-40:5`; empty for no index, which `parse_array` refuses.
    """
    values = sorted(set(indices))
    if values and values[0] < 0:
        raise ArraySpecError(f"index {values[0]} is negative; indices start at 0")
    items, start = [], 0
    while start < len(values):
        end = _run_end(values, start)
        items.append(_format_run(values[start : end + 1]))
        start = end + 1
    return ",".join(items)


def _parse_item(item: str, text: str) -> range:
    match = _ITEM.fullmatch(item)
    if match is None:
        raise ArraySpecError(f"{_complaint(item)} in array {text!r}; {_EXAMPLES}")
    first = _index(match["first"], text)
    last = first if match["last"] is None else _index(match["last"], text)
    step = 1 if match["step"] is None else _number(match["step"])
    if last < first:
        raise ArraySpecError(f"{item!r} in array {text!r} runs backwards; write {last}-{first}")
    if step == 0:
        raise ArraySpecError(f"{item!r} in array {text!r} has step 0; the smallest step is 1")
    return range(first, last + 1, step)


def _parse_throttle(digits: str, text: str) -> int:
    if re.fullmatch("[0-9]+", digits) is None or _number(digits) == 0:
        raise ArraySpecError(
            f"{'%' + digits!r} in array {text!r} is no number of tasks at a time; {_EXAMPLES}"
        )
    return _number(digits)


def _complaint(item: str) -> str:
    if not item:
        return "empty item"
    if re.match("-[0-9]|[0-9]+--", item):
        return f"negative index in {item!r}"
    return f"{item!r} is no index or range"


def _index(digits: str, text: str) -> int:
    value = _number(digits)
    if value > LARGEST_INDEX:
        shown = digits if len(digits) <= 20 else f"{digits[:20]}…"
        raise ArraySpecError(
            f"index {shown} in array {text[:60]!r} is above the largest allowed, {LARGEST_INDEX}"
        )
    return value


def _number(digits: str) -> int:
    # int() refuses thousands of digits, and all that is too large is refused alike: one above will do.
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= len(str(LARGEST_INDEX)) else LARGEST_INDEX + 1


def _run_end(values: list[int], start: int) -> int:
    """Position of the last evenly spaced value from `start`; two spaced wider than 1 are no run yet."""
    end = start + 1
    if end == len(values):
        return start
    step = values[end] - values[start]
    while end + 1 < len(values) and values[end + 1] - values[end] == step:
        end += 1
    return end if step == 1 or end - start >= 2 else start


def _format_run(run: list[int]) -> str:
    if len(run) == 1:
        return str(run[0])
    step = run[1] - run[0]
    return f"{run[0]}-{run[-1]}" + (f":{step}" if step > 1 else "")
