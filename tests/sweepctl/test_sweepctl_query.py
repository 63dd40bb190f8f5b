"""`sweepctl query`: exact values, all three formats, and what is refused."""

import csv
import io
import json
import os
import sys
import tempfile

import pytest
from factories.sweep_factory import write_synthetic_sweep

from sweepctl.cli import main
from trainer.paths import store_path


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("query") / "runs"
    write_synthetic_sweep(folder, steps=4, questions=10)
    return folder


@pytest.fixture
def query(runs_dir, monkeypatch, capsys):
    """Run `sweepctl query ARGUMENTS`: exit code, stdout, stderr."""

    def run(*arguments: str, width: int = 120) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sweepctl", "query", *arguments, "--runs-dir", str(runs_dir)])
        monkeypatch.setenv("COLUMNS", str(width))
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run


def test_the_store_is_brought_up_to_date_first(tmp_path, query, runs_dir):
    store_path(runs_dir).unlink(missing_ok=True)
    code, out, err = query("SELECT count(*) AS runs FROM runs", "--json")
    assert (code, json.loads(out), err) == (0, [{"runs": 6}], "")


def test_tables_and_views_are_listed(query):
    _, out, _ = query("show tables")
    assert {"runs", "steps", "run_summary", "accuracy_deltas"} <= set(out.split())


VALUES = """
    SELECT 1.50::DECIMAL(9, 2) AS price, 2::DECIMAL(9, 2) AS whole, 12345678901234567890::HUGEINT AS huge,
        DATE '2026-11-23' AS day, TIMESTAMP '2026-11-23 11:30:00' AS at, INTERVAL 90 SECOND AS took,
        [1, NULL] AS list, {'a': DATE '2026-01-02'} AS struct, MAP {7: 'x'} AS map, 'nan'::DOUBLE AS nan,
        NULL AS nothing, true AS yes, 'ä"' AS text, 0.1::DOUBLE + 0.2::DOUBLE AS sum, 5 AS price
"""


def test_json_has_exact_types(query):
    _, out, _ = query(VALUES, "--json")
    assert json.loads(out) == [
        {
            "price": 1.5,
            "whole": 2,
            "huge": 12345678901234567890,
            "day": "2026-11-23",
            "at": "2026-11-23T11:30:00",
            "took": 90.0,
            "list": [1, None],
            "struct": {"a": "2026-01-02"},
            "map": {"7": "x"},
            "nan": None,
            "nothing": None,
            "yes": True,
            "text": 'ä"',
            "sum": 0.30000000000000004,
            "price_1": 5,
        }
    ]


def test_csv_is_read_back(query):
    _, out, _ = query(VALUES, "--csv")
    (row,) = csv.DictReader(io.StringIO(out))
    assert (row["huge"], row["text"], row["sum"]) == ("12345678901234567890", 'ä"', "0.30000000000000004")
    assert (row["nothing"], row["nan"], row["yes"], row["list"]) == ("", "", "true", "[1, null]")


def test_many_rows_are_printed_whole_as_json_and_cut_short_with_a_word_as_a_table(query):
    _, out, _ = query("SELECT range AS n FROM range(2500)", "--json")
    assert [row["n"] for row in json.loads(out)] == list(range(2500))
    _, out, err = query("SELECT range AS n FROM range(2500)")
    assert out.split() == ["n", *map(str, range(1000))]
    assert err == "only the first 1000 rows; --csv and --json print all\n"


def test_numbers_stand_right_and_words_left(query):
    _, out, _ = query("SELECT * FROM (VALUES ('a', 1.25, 5), ('long word', 1000.0, NULL)) AS t(word, x, n)")
    assert [line.rstrip() for line in out.splitlines()] == [
        "word          x     n",
        "a          1.25     5",
        "long word  1000  NULL",
    ]


def test_rows_wider_than_the_terminal_are_printed_one_below_the_other(query):
    _, out, _ = query(
        "SELECT 'x' AS first, repeat('y', 40) AS second, repeat('z', 40) AS third FROM range(2)", width=80
    )
    block = ["first   x", "second  " + "y" * 40, "third   " + "z" * 40]
    assert [line.rstrip() for line in out.splitlines()] == ["row 1", *block, "row 2", *block]


def test_markup_in_values_is_printed_as_it_is(query):
    _, out, _ = query("SELECT '[bold]:smile:[/]' AS text")
    assert "[bold]:smile:[/]" in out


@pytest.mark.parametrize(
    ("options", "expected"), [([], "run_name  step\n"), (["--csv"], "run_name,step\n"), (["--json"], "[]\n")]
)
def test_no_rows_is_said_on_stderr(query, options, expected):
    code, out, err = query("SELECT run_name, step FROM steps WHERE step < 0", *options)
    assert (code, out, err) == (0, expected, "no rows\n")


def test_sql_from_stdin(query, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("SELECT 42 AS answer -- a comment\n"))
    assert json.loads(query("-", "--json")[1]) == [{"answer": 42}]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT * FROM stps", ["no table or view 'stps'", "did you mean 'steps'?", "show tables"]),
        ("SELECT * FROM zzzzzz", ["no table or view 'zzzzzz'", "known: accuracy, accuracy_deltas", "steps"]),
        ("SELECT wal_s FROM steps", ['"wal_s" not found', '"wall_s"', "\nLINE 1: SELECT wal_s FROM steps\n"]),
        ("SELECT (", ["syntax error"]),
        ("SELECT 'x'::INT", ["Could not convert string 'x'"]),
        ("", ["0 statements; give one"]),
        ("SELECT 1; SELECT 2", ["2 statements; give one"]),
        ("DELETE FROM runs", ["DELETE is refused", "SELECT"]),
        ("CREATE TABLE memory.x AS SELECT 1", ["CREATE is refused"]),
        ("COPY runs TO 'runs.csv'", ["COPY is refused", "--csv"]),
        ("ATTACH 'other.duckdb'", ["ATTACH is refused"]),
    ],
)
def test_what_cannot_be_asked_is_one_message(query, sql, said):
    code, out, err = query(sql)
    assert (code, out) == (2, "")
    assert err.startswith("error: query: ")
    for words in said:
        assert words in err
    assert "\n\n" not in err


@pytest.mark.parametrize(
    "sql",
    [
        "EXPLAIN ANALYZE COPY (SELECT 1 AS a) TO '{}'",
        "SELECT * FROM read_csv('{}')",
        "SELECT * FROM read_text('{}')",
        "SELECT * FROM glob('{}')",
        "PRAGMA import_database('{}')",
    ],
)
def test_no_other_file_is_read_or_written(query, tmp_path, sql):
    file = tmp_path / "other.csv"
    file.write_text("secret\n")
    code, out, err = query(sql.format(file))
    assert (code, out) == (2, "")
    assert "only the store is read" in err
    assert file.read_text() == "secret\n"


@pytest.mark.parametrize("sql", ["SET enable_external_access = true", "PRAGMA enable_external_access = true"])
def test_the_store_stays_shut(query, sql):
    assert "SET is refused" in query(sql)[2]


def test_a_plan_is_explained(query):
    assert "run_name" in query("EXPLAIN SELECT run_name FROM runs", "--json")[1]


def test_what_does_not_fit_into_memory_is_spilled_where_nothing_stays(query, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    sql = "SELECT current_setting('temp_directory') AS folder"
    ((folder,),) = [row.values() for row in json.loads(query(sql, "--json")[1])]
    assert folder.startswith(f"{tmp_path}/sweepctl-query-{os.getpid()}-")
    assert list(tmp_path.iterdir()) == []


def test_one_format_at_a_time(query):
    assert query("SELECT 1", "--json", "--csv")[2].startswith("error: --json and --csv: only one")


def test_a_folder_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sweepctl", "query", "SELECT 1", "--runs-dir", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert f"{tmp_path}/none: no such folder; name the runs directory" in capsys.readouterr().err
