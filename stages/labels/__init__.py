"""Labels: the accuracy that a predictor learns, from a table, NAS-Bench-201's file or own training (SPEC R13)."""
