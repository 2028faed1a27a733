"""How scores are compared: where they come from, metrics and tables."""
