"""A frozen pair of encoders at work: maps of any experiment that they fit, to embeddings (R14, R18)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from stages.experiment import Experiment
from stages.nap2.feature_maps.config import InputsConfig
from stages.nap2.feature_maps.maps import Maps, snapshots
from stages.nap2.feature_maps.variants import Variant
from stages.nap2.models import card, plan
from stages.nap2.models.autoencoder import Encoder
from stages.nap2.models.card import Card
from stages.nap2.models.config import CaeConfig
from stages.nap2.models.errors import ModelError
from stages.nap2.models.plan import ModelKey
from stages.recording.config import RecordingConfig
from stages.stage import Input
from stages.training.determinism import choose_device, make_deterministic
from storage_schema import markers, schema
from storage_schema.read import open_dynamics

BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Encoders:
    """Both encoders of a model, in eval mode: BatchNorm uses what it learnt at the source.

    Attributes:
        cards: By kind.
    """

    variant: Variant
    networks: Mapping[str, nn.Module]
    cards: Mapping[str, Card]
    device: torch.device

    @classmethod
    def of_experiment(cls, source: Experiment, key: ModelKey) -> Encoders:
        """Load the encoders that embed for a model.

        Raises:
            ModelError: They are not there, or not as they were written.
        """
        config, networks, cards = source.settings(CaeConfig), {}, {}
        make_deterministic(config.threads)
        device = choose_device(config.device)
        for kind in schema.KINDS:
            folder = plan.cae_folder(source, key.embedded_by, kind)
            trained = plan.trained(source.settings, key.embedded_by, kind)
            cards[kind] = card.read_card(folder, model_digests(source, trained))
            network = Encoder(cards[kind]["layer_cap"])
            card.read_weights(folder, cards[kind], network)
            dtype = getattr(torch, cards[kind]["dtype"])
            networks[kind] = network.to(device, dtype).eval().requires_grad_(False)
        return cls(variant=key.variant.encoded_by, networks=networks, cards=cards, device=device)

    def embed(
        self, target: Experiment, architectures: Sequence[int], count: int
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield each architecture's embeddings of the first `count` snapshots that the variant sees.

        Args:
            target: The experiment whose maps are read; its labels are not.
            architectures: Indices in its plan.
            count: Snapshots.

        Yields:
            Index and values (count, kind 2, component 128).
        """
        maps = {kind: self._maps(target, kind) for kind in schema.KINDS}
        seen = snapshots(self.variant, len(target.settings(RecordingConfig).steps))[:count]
        per_batch = max(1, BATCH // max(1, len(seen)))
        groups = [architectures[i : i + per_batch] for i in range(0, len(architectures), per_batch)]
        pairs = [[(a, k) for a in group for k in seen] for group in groups]
        streams = [maps[kind].batches(pairs) for kind in schema.KINDS]
        for group, *batches in zip(groups, *streams, strict=True):
            both = [self._encode(k, b) for k, b in zip(schema.KINDS, batches, strict=True)]
            stacked = np.stack(both, axis=1).reshape(len(group), len(seen), len(schema.KINDS), -1)
            yield from zip(group, stacked, strict=True)

    def _maps(self, target: Experiment, kind: str) -> Maps:
        cap = self.cards[kind]["layer_cap"]
        return Maps(target.layout.dynamics, kind, self.variant, target.architectures, cap)

    @torch.no_grad()
    def _encode(self, kind: str, batch: NDArray[np.float32]) -> NDArray[Any]:
        dtype = getattr(torch, self.cards[kind]["dtype"])
        maps = torch.from_numpy(batch).to(self.device, dtype).permute(0, 2, 1, 3)
        found: NDArray[Any] = self.networks[kind](maps).cpu().numpy()
        return found


def check_fits(cards: Mapping[str, Card], target: Experiment) -> None:
    """Compare what models were trained on with the store they are to be used on.

    Raises:
        ModelError: They differ in features, layer cap or dtype; all differences are named. Versions of the schema
            do not matter: what is in one stays as it is in all later ones.
    """
    store = open_dynamics(target.layout.dynamics)
    there = {
        "features": store["feature"].values.tolist(),
        "layer_cap": target.settings(InputsConfig).layer_cap,
        "dtype": target.settings(CaeConfig).dtype,
    }
    differing = [
        f"{name}: {facts[name]!r} at the source, {value!r} at the target ({part})"
        for part, facts in ((part, dict(card)) for part, card in cards.items())
        for name, value in there.items()
        if facts[name] != value
    ]
    if differing:
        raise ModelError(
            f"the models do not fit {target.layout.root}: {'; '.join(differing)}; "
            "use a source of the same settings, or set the target's alike"
        )


def model_digests(source: Experiment, model: Input) -> dict[str, str]:
    """Return the digests of a trained model's files, from its done-marker.

    Raises:
        ModelError: The model is not trained.
    """
    marker = markers.load(model.marker(source.layout))
    if marker is None:
        raise ModelError(
            f"{source.layout.root}: {model} is not trained; run: "
            f"pipeline run --experiment {source.layout.root} --stage {model.stage} --array {model.index}"
        )
    return marker.digests
