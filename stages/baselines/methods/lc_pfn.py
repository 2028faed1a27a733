"""LC-PFN: a transformer that has learned to extrapolate curves from a prior over them (Adriaensen et al. 2023).

Its network is that of the package `lcpfn`, which asks for torch ≤ 1.11 and Python < 3.12; it runs with today's
torch when it is installed as `INSTALL` says and met half-way here (see `_layer_names` and `_adapted`).
Weights come from the user, in one of two formats:

* `.safetensors`, as `save` writes it, with the network's `Shape` in the file's metadata;
* anything else is a module pickled as a whole, as the authors publish theirs. To read it is to run whatever code is
  in it, so the user has to say that the file is trusted, and is warned all the same.

Curves are fractions, as the prior's are. The end of the schedule is put at the last epoch of the prior's curves. With
fewer than five observations after epoch 0 the last value stands, as in the paper.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from stages.baselines.method import Floats, Method, Prefix, Scorer, UnmetNeedError
from stages.baselines.methods.early_stop import last_value, observed

PACKAGE: Final = "lcpfn"
INSTALL: Final = "python -m pip install --no-deps --ignore-requires-python lcpfn==0.1.3"
FEWEST_OBSERVATIONS: Final = 5
SAFE_SUFFIX: Final = ".safetensors"
PUBLISHED_EPOCHS: Final = 100
_LIMITS = {"embedding": (128, 2048), "layers": (1, 48), "bars": (2, 10_000), "epochs": (2, 100_000)}


class LcPfnError(UnmetNeedError):
    """The package or the weights of LC-PFN are not there, or are not what they have to be."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What the network is built from.

    Attributes:
        embedding: Width, at least 128; a head for each full 128 of it.
        layers: Of the transformer.
        bars: Of the histogram that it predicts.
        epochs: Of the curves it has learned from.
    """

    embedding: int = 512
    layers: int = 12
    bars: int = 1000
    epochs: int = PUBLISHED_EPOCHS

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            LcPfnError: One of them cannot be.
        """
        for name, (least, most) in _LIMITS.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise LcPfnError(f"LC-PFN: {name} = {value} is not one of {least}-{most}")


def lc_pfn(weights: Path | None, trust_pickle: bool = False) -> Method:
    """Make the method.

    Args:
        weights: File of the network's weights; without it, the method says how to come by them.
        trust_pickle: Whether a file that is not safetensors may be unpickled, which runs the code in it.
    """
    return Method(
        name="LC-PFN",
        kind="learning curve",
        fit=partial(_fit, weights=weights, trust_pickle=trust_pickle),
        source="Adriaensen et al. 2023",
        needs=frozenset({"validation accuracy"}),
        learned=False,
        files=("file of weights",),
        package=PACKAGE,
        install=INSTALL,
    )


def _fit(_train: Prefix, _labels: Floats, _seed: int, *, weights: Path | None, trust_pickle: bool) -> Scorer:
    require_package()
    if weights is None:
        raise LcPfnError(
            "LC-PFN has no weights; name the file that its authors publish (see the readme of automl/lcpfn), "
            "or one made by studies/lc_pfn_on_prior.py"
        )
    model, epochs = read(weights, trust_pickle)
    return partial(_score, model=model, epochs=epochs)


WITHOUT_WEIGHTS: Final = lc_pfn(None)


def _score(prefix: Prefix, *, model: Any, epochs: int) -> Floats:
    """Return (n,) expected accuracies at the end of the schedule; each is of its own curve alone."""
    accuracies, scores = observed(prefix), last_value(prefix)
    times = prefix.epochs * (epochs / prefix.schedule_epochs)
    for index in np.flatnonzero(~np.isnan(scores)):
        seen = ~np.isnan(accuracies[index]) & (times > 0)
        if seen.sum() >= FEWEST_OBSERVATIONS:
            mean = expected(model, times[seen], accuracies[None, index, seen], np.array([float(epochs)]))
            scores[index] = mean[0, 0]
    return scores


def expected(model: Any, times: Floats, curves: Floats, asked: Floats) -> Floats:
    """Return (n, asked) means of the predicted distributions.

    Args:
        model: The network.
        times: (observations,) in epochs of the prior.
        curves: (n, observations) fractions.
        asked: (asked,) times.
    """
    import torch

    x = torch.tensor(np.concatenate([times, asked]), dtype=torch.float32)
    y = torch.tensor(curves.T, dtype=torch.float32)
    with torch.no_grad():
        logits = model((x[:, None, None].expand(-1, len(curves), 1), y), single_eval_pos=len(times))
        means = model.criterion.mean(logits).T
    return np.asarray(means, dtype=np.float64)


def require_package() -> None:
    """Import `lcpfn`.

    Raises:
        LcPfnError: It is not installed.
    """
    path = list(sys.path)
    try:
        import lcpfn  # noqa: F401 -- it has to be there, also for what is unpickled
    except ImportError as error:
        raise LcPfnError(f"LC-PFN needs the package {PACKAGE} ({error}); run `{INSTALL}`") from error
    finally:
        sys.path[:] = path  # it puts its own folder in front, where `train` or `utils` would be anyone's


def build(shape: Shape, borders: Any = None) -> Any:
    """Make a network, untrained, in evaluation mode.

    Args:
        shape: What to build.
        borders: (bars + 1,) tensor, ascending: those of the histogram; without them, equal ones to be replaced.

    Raises:
        LcPfnError: The package is not installed.
    """
    require_package()
    import torch
    from lcpfn import bar_distribution, encoders, positional_encodings, transformer

    width = shape.embedding
    unit = encoders.Normalize(0.5, 12**-0.5)  # of what is uniform in [0, 1], to deviation 1
    with _layer_names(), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "enable_nested_tensor", UserWarning
        )  # a layer of its own: never nested
        model = transformer.TransformerModel(
            torch.nn.Sequential(encoders.Normalize(0.0, shape.epochs + 1.0), unit, torch.nn.Linear(1, width)),
            shape.bars,
            width,
            width // 128,
            2 * width,
            shape.layers,
            y_encoder=torch.nn.Sequential(unit, torch.nn.Linear(1, width)),
            pos_encoder=positional_encodings.NoPositionalEncoding(width),
        )
    edges = torch.linspace(0, 1, shape.bars + 1) if borders is None else borders
    model.criterion = bar_distribution.FullSupportBarDistribution(edges)
    return _adapted(model).eval()


def save(path: Path, model: Any, shape: Shape) -> None:
    """Write a network, with its shape, to a safetensors file."""
    from safetensors.torch import save_file

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, path, metadata={name: str(value) for name, value in asdict(shape).items()})


def read(path: Path, trust_pickle: bool) -> tuple[Any, int]:
    """Read a network.

    Returns:
        It, in evaluation mode, and how many epochs its prior's curves have.

    Raises:
        LcPfnError: There is no such file, it is a pickle that is not trusted, or it holds something else.
    """
    require_package()
    if not path.is_file():
        raise LcPfnError(f"{path} is not there; name the file of LC-PFN's weights")
    if path.suffix == SAFE_SUFFIX:
        return _read_safetensors(path)
    if not trust_pickle:
        raise LcPfnError(
            f"{path} is a pickle, which may run any code when it is read; if it is trusted, "
            f"--set baselines.trust_lc_pfn_pickle=true, or name a {SAFE_SUFFIX} file"
        )
    return _unpickled(path), PUBLISHED_EPOCHS


def _read_safetensors(path: Path) -> tuple[Any, int]:
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        with safe_open(path, "pt") as file:
            said = file.metadata() or {}
        shape = Shape(**{field.name: int(said[field.name]) for field in fields(Shape)})
        model = build(shape)
        model.load_state_dict(load_file(path))
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise LcPfnError(f"{path} holds no LC-PFN of this project ({line}); make it again") from error
    return model, shape.epochs


def _unpickled(path: Path) -> Any:
    import pickle

    import torch

    warnings.warn(f"{path} is unpickled, which runs the code in it", UserWarning, stacklevel=4)
    try:
        model = torch.load(path, map_location="cpu", weights_only=False)
    except (OSError, pickle.UnpicklingError, EOFError, AttributeError, ImportError, RuntimeError) as error:
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise LcPfnError(f"{path} cannot be unpickled ({line}); download it again") from error
    if not hasattr(model, "transformer_encoder") or not hasattr(model, "criterion"):
        raise LcPfnError(f"{path} holds a {type(model).__name__}, no LC-PFN; name the file of its weights")
    return _adapted(model).eval()


@contextmanager
def _layer_names() -> Iterator[None]:
    """Give `lcpfn.layer`, for a while, the names that it took from a module of torch which exports them no more."""
    import lcpfn.layer
    import torch

    names = {
        name: getattr(torch.nn, name) for name in ("Dropout", "LayerNorm", "Linear", "MultiheadAttention")
    }
    module = vars(lcpfn.layer)
    missing = {name: value for name, value in names.items() if name not in module}
    module.update(missing)
    try:
        yield
    finally:
        for name in missing:
            del module[name]


def _adapted(model: Any) -> Any:
    """Make a network's layers ignore `is_causal`, with which torch ≥ 2.0 calls them; the mask says it all."""
    import lcpfn.layer

    class Layer(lcpfn.layer.TransformerEncoderLayer):  # type: ignore[misc]  # lcpfn has no types
        def forward(
            self, src: Any, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: Any = None
        ) -> Any:
            del is_causal
            return super().forward(src, src_mask, src_key_padding_mask)

    for layer in model.transformer_encoder.layers:
        layer.__class__ = Layer
    return model
