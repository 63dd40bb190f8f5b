"""Quality: what it cost in accuracy, question by question, and how it was learned."""
