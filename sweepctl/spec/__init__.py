"""What a sweep is, as it is written: YAML with positions -> a frozen model -> a profile's values and axes."""
