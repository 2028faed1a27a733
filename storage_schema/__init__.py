"""What is on disk: variables, chunks, paths, markers and readers; knows nothing of torch or Slurm."""
