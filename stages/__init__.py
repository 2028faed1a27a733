"""How a result is computed: one folder a stage, and the libraries stages share."""
