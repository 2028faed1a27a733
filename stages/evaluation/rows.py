"""The rows of tables: the models of a source, and what they are compared with. No torch here."""

from __future__ import annotations

from stages.experiment import Experiment
from stages.nap2.feature_maps.config import InputsConfig
from stages.nap2.models.plan import ModelKey
from stages.scoring import results


def method_name(key: ModelKey) -> str:
    """Name a variant of the model in tables."""
    return "NAP2" if key.variant.key == "maps" else f"NAP2 {key.variant.key}"


def method_names(source: Experiment, target: Experiment) -> list[str]:
    """Return the rows of tables: the source's models, then the target's baselines, in the order of the settings."""
    models = [method_name(ModelKey(variant, 0, "")) for variant in source.settings(InputsConfig).chosen]
    return [*models, *results.methods(target)]
