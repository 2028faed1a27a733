"""Trained models: the networks (paper App. C), their files, and frozen encoders at work."""
