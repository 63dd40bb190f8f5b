"""What a step minimises: policy losses, corrections, the KL penalty and advantages, each a pure function.

`objective.objective` puts them together. Every loss is a sum over tokens of a term times the share with
which the token counts; `units` says by what the step's sum is divided in the end.
"""
