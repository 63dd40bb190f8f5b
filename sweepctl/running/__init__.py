"""Running a plan: slots, engines, processes, retries, evaluation."""
