"""What a store says, for tests that damage what it was made from."""

from results.store import Store

TABLES = (
    *("runs", "dispatches", "groups", "steps", "spans", "evals", "eval_samples"),
    *("published_runs", "comparisons"),
)


def ask(runs_dir, sql, *params):
    """The first value of a query."""
    return Store(runs_dir).query(sql, list(params)).iloc[0, 0]


def counted(runs_dir):
    """How many rows each table has that is read from files."""
    sums = ", ".join(f"(SELECT count(*) FROM {table}) AS {table}" for table in TABLES)
    row = Store(runs_dir).query(f"SELECT {sums}").iloc[0]
    return {table: int(row[table]) for table in TABLES}
