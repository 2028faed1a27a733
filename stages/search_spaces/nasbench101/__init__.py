"""The NAS-Bench-101 cell: up to seven vertices, each with an operation (Ying et al. 2019)."""
