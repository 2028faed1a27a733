"""What to run: command line, experiment, presets, stages, status and report; touches no tensor."""

from __future__ import annotations

from importlib import import_module


def __getattr__(name: str) -> str:
    # Looked up when asked for: reading a distribution's metadata costs more than all else this import does.
    if name == "__version__":
        return str(import_module("importlib.metadata").version("nap2-pipeline"))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
