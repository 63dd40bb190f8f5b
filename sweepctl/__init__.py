"""The sweep: spec -> plan -> runs."""
