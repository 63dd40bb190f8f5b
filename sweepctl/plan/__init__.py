"""What running a sweep would do here: its points beside what earlier invocations left."""
