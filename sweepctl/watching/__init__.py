"""Looking at sweeps, running or ended."""
