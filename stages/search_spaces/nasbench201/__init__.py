"""The NAS-Bench-201 cell space: architecture strings, layers and costs in closed form, the networks."""
