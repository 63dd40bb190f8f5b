"""From a resolved spec to its points: ordered, named, validated."""
