"""Evaluation: how well scores order architectures by accuracy, with intervals, tables and pictures (R20, R26)."""
