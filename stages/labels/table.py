"""Labels from a table: one row an architecture, CSV (plain or gzipped) or Parquet (R13)."""

from __future__ import annotations

import csv
import gzip
import importlib
import logging
import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from stages.labels.config import LabelsConfig
from stages.labels.errors import LabelError
from storage_schema.errors import UserError

_log = logging.getLogger(__name__)

MOST_ROWS = 1_000_000
MOST_LETTERS = 1_000_000
"""Of one line."""
MOST_SKIPPED = 0.01
"""Share of rows that may name no architecture."""
SEPARATORS = {";": "';'", "\t": "tab", "|": "'|'"}
REMEDY = "correct the table or choose another labels.column"


def read_table(config: LabelsConfig, parse: Callable[[str], str] = str) -> dict[str, float]:
    """Read the accuracy of every architecture in the table.

    Rows that name no architecture of the space are skipped; how many, and the first of them, is logged.

    Args:
        config: Where the table is, and its columns.
        parse: `SearchSpace.parse`, which refuses what is no architecture and gives what is in normal form.

    Returns:
        Architecture string → accuracy as a fraction in [0, 1].

    Raises:
        LabelError: The file or a column is missing, a value is no number, the values contradict the unit, or more
            than 1 % of the rows name no architecture.
    """
    path = config.path()
    if path.suffix == ".parquet":
        rows: Iterable[tuple[Any, Any]] = _parquet_rows(path, config)
    else:
        rows = _csv_rows(path, config)
    values: dict[str, float] = {}
    skipped: list[str] = []
    number = 0
    for number, (architecture, text) in enumerate(rows, start=1):
        value = _number(text, f"{path}: row {number}, column {config.column}")
        name = str(architecture or "").strip()
        try:
            name = parse(name) if name else name
        except UserError as error:
            skipped.append(f"row {number}: {error}")
            continue
        if not name or values.setdefault(name, value) != value:
            raise LabelError(
                f"{path}: row {number}: architecture {architecture!r} is empty or has two labels; {REMEDY}"
            )
    if skipped:
        _tell(path, skipped, number)
    if not values:
        raise LabelError(f"{path}: the table has no rows; choose another labels.table")
    return to_fractions(values, config.unit, str(path))


def _tell(path: Path, skipped: list[str], rows: int) -> None:
    if len(skipped) > MOST_SKIPPED * rows:
        raise LabelError(
            f"{path}: {len(skipped)} of {rows} rows name no architecture of the search space; {skipped[0]}; "
            "correct the table, or choose another labels.architecture_column or architectures.space"
        )
    _log.warning("%s: skips %d of %d rows, the first is %s", path, len(skipped), rows, skipped[0])


def to_fractions(values: dict[str, float], unit: str, where: str) -> dict[str, float]:
    """Convert accuracies to fractions, refusing a unit that the values contradict.

    Args:
        values: Architecture → accuracy.
        unit: "percent" or "fraction".
        where: The source, for messages.

    Raises:
        LabelError: The values are outside the unit's range, or all so small that the unit must be wrong.
    """
    top, low = max(values.values()), min(values.values())
    if unit == "percent" and top <= 1:
        raise LabelError(f'{where}: no accuracy is above 1 ({top} the largest); set labels.unit = "fraction"')
    if unit == "fraction" and 1 < top <= 100:
        raise LabelError(f'{where}: accuracy {top} is above 1; set labels.unit = "percent"')
    scale = 100.0 if unit == "percent" else 1.0
    if low < 0 or top > scale:
        raise LabelError(f"{where}: accuracy {low if low < 0 else top} is outside [0, {scale:g}]; {REMEDY}")
    return {architecture: value / scale for architecture, value in values.items()}


def _number(text: Any, where: str) -> float:
    try:
        value = float(text)
    except (TypeError, ValueError):
        raise LabelError(f"{where}: {text!r} is not a number; {REMEDY}") from None
    if not math.isfinite(value):
        raise LabelError(f"{where}: {text!r} is not a finite number; {REMEDY}")
    return value


def _csv_rows(path: Path, config: LabelsConfig) -> list[tuple[Any, Any]]:
    try:
        with _open_text(path) as stream:
            reader = csv.DictReader(_lines(stream))
            _check_columns(path, list(reader.fieldnames or ()), config)
            rows = islice(reader, MOST_ROWS + 1)
            found = [(row[config.architecture_column], row[config.column]) for row in rows]
        if len(found) > MOST_ROWS:
            raise csv.Error(f"more than {MOST_ROWS} rows")
        return found
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise LabelError(f"{path}: cannot be read as CSV ({error}); check labels.table") from error


def _lines(stream: Any) -> Iterator[str]:
    """Yield lines; one that does not end would be read into memory whole, however little of it is in a gzip."""
    while line := stream.readline(MOST_LETTERS):
        if len(line) == MOST_LETTERS:
            raise csv.Error(f"a line has more than {MOST_LETTERS} letters")
        yield line


def _open_text(path: Path) -> Any:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _parquet_rows(path: Path, config: LabelsConfig) -> list[tuple[Any, Any]]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise LabelError(
            f"{path}: Parquet needs pyarrow; `pip install pyarrow`, or give a CSV file"
        ) from None
    try:
        file = parquet.ParquetFile(path)
        _check_columns(path, list(file.schema_arrow.names), config)
        table = file.read(columns=[config.architecture_column, config.column])
    except (OSError, ValueError) as error:  # pyarrow's own errors inherit these
        if isinstance(error, LabelError):
            raise
        raise LabelError(f"{path}: cannot be read as Parquet ({error}); check labels.table") from error
    columns = (table.column(name).to_pylist() for name in (config.architecture_column, config.column))
    return list(zip(*columns, strict=True))


def _check_columns(path: Path, names: list[str], config: LabelsConfig) -> None:
    wanted = {"architecture_column": config.architecture_column, "column": config.column}
    for separator, shown in SEPARATORS.items():
        if len(names) == 1 and set(wanted.values()) <= set(names[0].split(separator)):
            raise LabelError(f"{path}: its columns are separated by {shown}; write it with commas")
    for key, name in wanted.items():
        if name not in names:
            known = ", ".join(map(repr, names))
            raise LabelError(f"{path}: no column {name!r}; set labels.{key} to one of {known}")
