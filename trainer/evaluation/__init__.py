"""Evaluation of checkpoints: lm-eval over a rollout engine."""
