"""Before a sweep is run: what each of its settings will do, and afterwards how right that was."""
