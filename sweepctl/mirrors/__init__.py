"""Step records sent on to other tools, by a process beside each run that can never stop it."""
