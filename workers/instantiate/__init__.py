"""Candidates to pairs."""
