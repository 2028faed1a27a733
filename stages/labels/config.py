"""Settings of the labels, section `[labels]` of `experiment.toml`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stages.labels.errors import LabelError
from stages.settings import check, setting

TABLE_VARIABLE = "NAP2_LABELS_TABLE"
SOURCES = ("table", "nasbench201_api", "training")
UNITS = ("percent", "fraction")


@dataclass(frozen=True, kw_only=True)
class LabelsConfig:
    """Where labels come from (R13): fractions in [0, 1] whatever the source's unit."""

    SECTION: ClassVar[str] = "labels"

    source: str = setting("training", "a table, NAS-Bench-201's .pth file, or own training", choices=SOURCES)
    table: str = setting(
        "", "CSV(.gz), Parquet or .pth file; empty: variable NAP2_LABELS_TABLE", identity=False, path=True
    )
    column: str = setting("", "table: column of the accuracy; nasbench201_api: data set, as in cifar100")
    architecture_column: str = setting("arch_str", "table: column of the architecture string")
    unit: str = setting("percent", "unit of the table's accuracy", choices=UNITS)
    epochs: int = setting(200, "training: epochs to the end of the schedule", ge=0, le=100_000)

    def __post_init__(self) -> None:
        """Check every setting."""
        check(self)

    def path(self) -> Path:
        """The label file.

        Raises:
            LabelError: None is named, or it does not exist.
        """
        named = self.table or os.environ.get(TABLE_VARIABLE, "")
        if not named:
            raise LabelError(
                f"no label file; set labels.table or {TABLE_VARIABLE} to a CSV, Parquet or .pth file"
            )
        path = Path(named).expanduser()
        if not path.is_file():
            raise LabelError(f"{path}: label file is missing; change labels.table or {TABLE_VARIABLE}")
        return path
