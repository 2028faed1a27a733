"""Recording: twelve statistics of sampled units of every layer, and when they are taken (paper 3.2, App. B)."""
