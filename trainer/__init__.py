"""One run: rollouts -> buffer -> learner -> weight sync -> trace; and the evaluation of its checkpoints."""
