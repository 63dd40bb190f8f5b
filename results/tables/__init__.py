"""Frames of a sweep: queries of the store with the statistics that SQL cannot do."""
