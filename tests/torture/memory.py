"""How much memory this process took at the most, since the last look."""

from __future__ import annotations

from pathlib import Path


def peak() -> int:
    """Return the most bytes of resident memory since the last call, and begin again from what is resident now."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
