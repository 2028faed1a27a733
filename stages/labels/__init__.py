"""Labels: the accuracies to predict, from a table, NAS-Bench-201's file or own training (R13)."""
