"""Labels from NAS-Bench-201's `.pth` file, loaded behind an allow-list of types (R13)."""

from __future__ import annotations

import importlib
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.labels.errors import LabelError
from stages.labels.table import to_fractions

TEST_SETS = {"cifar10": "ori-test", "cifar100": "x-test", "ImageNet16-120": "x-test"}
"""Test images of each data set that the benchmark's own validation ("x-valid") leaves out."""

SCHEDULES = {"12": "less", "200": "full"}
"""Epochs of a training schedule → its key in the file."""

REMEDY = "fetch NAS-Bench-201-v1_1-096897.pth again"


def read_api_file(path: str | Path, dataset: str, hp: str = "200") -> dict[str, float]:
    """Read every architecture's test accuracy after the last epoch, averaged over its seeds.

    CIFAR-10 gives "ori-test" (all 10,000 test images); CIFAR-100 and ImageNet16-120 give "x-test", the half
    of the official test or validation images that the benchmark does not validate on. These are
    `get_more_info`'s "test-accuracy". Architectures without a run on the data set are left out.

    Args:
        path: The official file.
        dataset: "cifar10", "cifar100" or "ImageNet16-120".
        hp: Epochs of the schedule, "200" or "12".

    Returns:
        Architecture string → accuracy as a fraction in [0, 1].

    Raises:
        LabelError: The file is missing, names a type that is not admitted, or has another format;
            `nas_201_api` is not installed; or the data set or schedule is unknown.
    """
    path = Path(path)
    _check_choice("data set", dataset, TEST_SETS)
    _check_choice("schedule", hp, SCHEDULES)
    results_type = _results_type(path)
    infos = _architectures(path)
    accuracies: dict[str, float] = {}
    for index, info in infos.items():
        try:
            results = results_type.create_from_state_dict(dict(info[SCHEDULES[hp]]))
            if dataset in results.dataset_seed:
                metrics = results.get_metrics(dataset, TEST_SETS[dataset], is_random=False)
                accuracies[str(results.arch_str)] = float(metrics["accuracy"])
        except Exception as error:
            raise LabelError(
                f"{path}: architecture {str(index)[:20]} is not in the format ({_first_line(error)}); {REMEDY}"
            ) from error
    return _checked(accuracies, dataset, path)


def _checked(accuracies: dict[str, float], dataset: str, path: Path) -> dict[str, float]:
    if not accuracies:
        raise LabelError(f"{path}: no architecture has results on {dataset}; {REMEDY}")
    for architecture, value in accuracies.items():
        if not np.isfinite(value):
            raise LabelError(f"{path}: the accuracy of {architecture} is {value}; {REMEDY}")
    return to_fractions(accuracies, "percent", str(path))


def _check_choice(kind: str, value: str, choices: dict[str, str]) -> None:
    if value not in choices:
        raise LabelError(f"{kind} {value!r} is not in NAS-Bench-201's file; use one of {', '.join(choices)}")


def _results_type(path: Path) -> Any:
    try:
        return importlib.import_module("nas_201_api").ArchResults
    except ImportError:
        raise LabelError(f"{path}: reading it needs nas_201_api; `pip install nas-bench-201==2.1`") from None


def _architectures(path: Path) -> dict[int, Any]:
    content = _load(path)
    infos = content.get("arch2infos") if isinstance(content, dict) else None
    if not isinstance(infos, dict):
        raise LabelError(f"{path}: no dictionary with arch2infos; {REMEDY}")
    return infos


def _load(path: Path) -> Any:
    if not path.is_file():
        raise LabelError(f"{path}: label file is missing; change labels.table")
    try:
        with torch.serialization.safe_globals(_admitted()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise LabelError(
            f"{path}: refused, it is damaged or asks for more than data ({_first_line(error)}); {REMEDY}"
        ) from error
    except Exception as error:
        raise LabelError(f"{path}: cannot be read ({_first_line(error)}); {REMEDY}") from error


def _first_line(error: BaseException) -> str:
    # An EOFError has no text of its own, torch's errors run over several lines.
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]


def _admitted() -> list[Any]:
    """Types beyond torch's own list: NumPy numbers and arrays, under NumPy's old and new module names."""
    from numpy._core.multiarray import _reconstruct, scalar

    kinds = [type(np.dtype(code)) for code in ("f4", "f8", "i4", "i8", "u1", "?")]
    functions = [
        (function, f"numpy.{core}.multiarray.{function.__name__}")
        for function in (_reconstruct, scalar)
        for core in ("core", "_core")
    ]
    return [np.dtype, np.ndarray, OrderedDict, *kinds, *functions]
