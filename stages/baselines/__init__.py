"""Comparison methods: what is predicted without the encoders, for the project to be measured against (R26)."""
