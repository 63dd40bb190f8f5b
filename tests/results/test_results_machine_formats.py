"""JSON by its schema and CSV by its header: every number, unrounded, with its unit in the name."""

import csv
import io
import json
from pathlib import Path

import jsonschema
import pandas as pd
import pytest
from factories.sweep_factory import write_synthetic_sweep

from results.ingest import ingest
from results.report.build import build_report
from results.report.csv_tables import csv_table
from results.report.gate import GateOutcome
from results.report.json_document import render_json, schema_text
from results.report.rows import TABLES
from results.store import Store
from trainer.errors import ConfigError

SCHEMA = Path(__file__).parents[2] / "results" / "report" / "report.schema.json"


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    found = {}
    for name, options in {
        "one seed": {"steps": 16, "questions": 40},
        "partial": {"finished": False, "steps": 8, "questions": 20},
        "three seeds": {"seeds": (0, 1, 2), "steps": 8, "questions": 20},
    }.items():
        runs = tmp_path_factory.mktemp("formats")
        write_synthetic_sweep(runs, **options)
        ingest(runs)
        found[name] = build_report(Store(runs))
    return found


@pytest.fixture(scope="module")
def report(reports):
    return reports["one seed"]


def test_the_schema_that_is_checked_in_is_that_of_the_models():
    assert SCHEMA.read_text() == schema_text(), "write it again: make docs"


@pytest.mark.parametrize("name", ["one seed", "partial", "three seeds"])
def test_a_report_obeys_its_schema(reports, name):
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    gate = GateOutcome("any(run.seed == 0)", False, ("Exp1: no",))
    for text in (render_json(reports[name]), render_json(reports[name], gate)):
        jsonschema.validate(json.loads(text), schema)


def test_the_schema_refuses_what_is_no_report(report):
    content = json.loads(render_json(report))
    content["speedups"][0]["prompts_per_s_speedup"] = "1.4x"
    with pytest.raises(jsonschema.ValidationError, match=r"1\.4x"):
        jsonschema.validate(content, json.loads(SCHEMA.read_text()))


def test_json_holds_all_numbers_unrounded(report):
    content = json.loads(render_json(report))
    assert [row["label"] for row in content["experiments"]] == [f"Exp{n}" for n in range(1, 7)]
    assert content["experiments"][5]["training_s"] is None
    assert {row["against"] for row in content["deltas"]} == {"base", "baseline", "reference"}
    assert content["profile"] == "synthetic" and content["gate"] is None
    for name in ("speedups", "deltas", "waste"):
        frame = getattr(report, name)
        assert len(content[name]) == len(frame)
        for column in {"prompts_per_s_speedup", "delta_points", "wasted_share"} & set(frame.columns):
            assert [row[column] for row in content[name]] == list(frame[column])
    assert [row["low_points"] for row in content["deltas"]] == list(report.deltas["low"])


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_csv_with_the_columns_of_its_model(report, name):
    rows = list(csv.reader(io.StringIO(csv_table(report, name))))
    assert rows[0] == list(TABLES[name].model_fields)
    assert len(rows) - 1 == len(getattr(report, name))
    assert all(len(row) == len(rows[0]) for row in rows)


def test_csv_gives_the_same_numbers_back(report):
    table = pd.read_csv(io.StringIO(csv_table(report, "deltas")))
    assert list(table["delta_points"]) == list(report.deltas["delta_points"])
    modes = list(csv.DictReader(io.StringIO(csv_table(report, "modes"))))
    assert [json.loads(row["mode_seconds"]) for row in modes] == [
        list(each) for each in report.modes["mode_seconds"]
    ]


def test_every_column_that_is_declared_is_there(report):
    for name, model in TABLES.items():
        for column, field in model.model_fields.items():
            names = {column, *(getattr(field.validation_alias, "choices", ()) or ())}
            assert names & set(getattr(report, name).columns), f"{name}.{column}"


def test_a_table_that_is_not_there(report):
    with pytest.raises(ConfigError, match="did you mean speedups"):
        csv_table(report, "speedup")
