"""The predictor: embedding sequences to an accuracy (paper 3.4, App. C.2)."""
