"""The proxies of one architecture of an experiment: the network that `collect` trains, before its first step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.datasets.config import DataConfig
from stages.experiment import Experiment
from stages.search_spaces.build import build
from stages.search_spaces.chosen import space_of, task_of
from stages.stage import Execution, Stopped
from stages.training.config import TrainingConfig
from stages.training.data import device_data
from stages.training.determinism import choose_device, fingerprint, make_deterministic, provenance
from stages.zero_cost.batch import draw_batch
from stages.zero_cost.config import ZeroCostConfig
from stages.zero_cost.measure import Measured, measure
from stages.zero_cost.proxy import Proxy, Subject


def compute(
    experiment: Experiment, index: int, execution: Execution, proxies: Mapping[str, Proxy]
) -> tuple[Measured, dict[str, Any]]:
    """Return the numbers of one architecture, and where and with what they were computed.

    Raises:
        Stopped: Asked to stop; nothing is kept, as it takes seconds to begin again.
    """
    settings, space, architecture = experiment.settings, space_of(experiment), experiment.architectures[index]
    make_deterministic(settings(ZeroCostConfig).threads)
    device = choose_device(settings(ZeroCostConfig).device)
    data = device_data(settings(DataConfig), device, experiment.data_digest)
    network = build(space, architecture, task_of(settings), settings(TrainingConfig).seed).to(device)
    subject = Subject(network=network, space=space, architecture=architecture, task=task_of(settings))

    def before_each() -> None:
        execution.progress(0.0)
        if execution.should_stop():
            raise Stopped(f"index {index} is begun again by the next run")

    measured = measure(subject, draw_batch(data, settings(ZeroCostConfig)), before_each, proxies)
    return measured, provenance(fingerprint(device), [])
