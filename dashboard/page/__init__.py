"""The pages: a module, or a package with `page`, for each."""
