"""Runs: all of them, one, and two beside each other."""
