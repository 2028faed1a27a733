"""What goes wrong with a cluster: one line for the user, with Slurm's own words where it has said something."""

from __future__ import annotations


class SlurmError(Exception):
    """A request that the cluster refused, or that cannot be made; the message says what to change."""
