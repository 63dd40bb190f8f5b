"""Speed: how much faster, in four units, over which knobs."""
