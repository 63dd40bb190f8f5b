"""Policy losses: small pure functions, one a file."""
