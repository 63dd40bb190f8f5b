"""Run directories -> DuckDB -> statistics -> report."""
