"""Pairs to verdicts."""
