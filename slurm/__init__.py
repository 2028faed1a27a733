"""Where a task runs: processes here or jobs of a cluster, signals and queue; knows nothing of stages."""
