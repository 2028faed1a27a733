"""Collecting: short trainings of many architectures, and the statistics of their weights and gradients."""
