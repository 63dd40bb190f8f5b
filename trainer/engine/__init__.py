"""Rollout engines behind one protocol: vLLM over a unix socket, and transformers in a child process."""
