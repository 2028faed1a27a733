"""Splits: who trains, who validates and who tests in each trial, stratified over accuracy (R19)."""
