"""Estimates and tests: arrays in, numbers out. Nothing here knows a store or a file."""
