"""Sweeps to and from other places: archives to publish, results that were made elsewhere."""
