"""docs/report.md names every table, every name of a gate, and every sentence."""

import re
from pathlib import Path

import pytest
from factories.sweep_factory import write_synthetic_sweep

from results.expressions import ExpressionError
from results.ingest import ingest
from results.report.build import build_report
from results.report.gate_reader import read_gate
from results.report.gate_rows import NAMES, VOCABULARY
from results.report.rows import TABLES
from results.store import Store
from sweepctl.commands.import_ import import_folder

TEXT = (Path(__file__).parents[2] / "docs" / "report.md").read_text()
_WITH_ENDS = {
    "speedup": ("prompts_per_s", "completion_tokens_per_s", "step_time"),
    "published": ("prompts_per_s", "step_time", "training_time"),
}
REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
RUN_TABLE = Path(__file__).parents[1] / "sweepctl" / "reference_runs.yaml"
KEYS = ("optim.lr", "max_staleness")


def part(heading):
    return TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def test_every_table_is_listed():
    listed = re.findall(r"`(\w+)`", part("Tables of JSON and CSV").split(". The schema")[0])
    assert listed == list(TABLES)


def test_every_name_of_a_gate_stands_at_its_prefix():
    rows = re.findall(r"^\| `(\w+)\.` \| [^|]* \| (.*) \|$", part("Gates"), re.MULTILINE)
    documented = {prefix: set(re.findall(r"`([a-z_]\w*)`", names)) for prefix, names in rows}
    for prefix, names in NAMES.items():
        if prefix == "run":
            assert documented[prefix] == {"experiments"}
            continue
        found = documented[prefix] | {
            f"{name}{end}" for name in _WITH_ENDS.get(prefix, ()) for end in ("_low", "_high")
        }
        assert found - {"_low", "_high"} == set(names), prefix


def test_every_word_is_documented():
    words = {word for name, words in VOCABULARY.items() if "state" not in name for word in words}
    assert all(f"`{word}`" in part("Gates") for word in words)


def test_every_gate_of_the_page_can_be_read():
    gates = re.findall(r'--gate "(.*)"', TEXT) + re.findall(
        r"^    ((?:all|min|count)\(.*)$", TEXT, re.MULTILINE
    )
    assert len(gates) == 4
    for gate in gates:
        try:
            read_gate(gate, KEYS)
        except ExpressionError as error:
            raise AssertionError(gate) from error


@pytest.mark.parametrize(
    ("seeds", "finished", "learns"), [(1, False, True), (1, True, False), (3, True, True)]
)
def test_every_sentence_of_a_report_is_one_of_the_page(tmp_path, seeds, finished, learns):
    write_synthetic_sweep(
        tmp_path, finished=finished, steps=16, questions=20, seeds=range(seeds), learns=learns
    )
    ingest(tmp_path)
    report = build_report(Store(tmp_path))
    said = (*report.observations, *report.plan_observations, *report.conclusions)
    assert len(said) > 10
    for sentence in said:
        assert _times_documented(sentence) == 1, sentence


def test_every_sentence_on_published_speed_is_one_of_the_page(tmp_path):
    import_folder(tmp_path, REFERENCE / "eval_results", name="gsm8k", runs=RUN_TABLE, as_json=False)
    ingest(tmp_path)
    said = build_report(Store(tmp_path)).observations
    assert sum("ublished" in sentence for sentence in said) == 4
    for sentence in said:
        assert _times_documented(sentence) == 1, sentence


def _times_documented(sentence):
    """Of how many rows of the page a sentence is."""
    rows = re.findall(r"^\| (.*) \| .* \|$", part("Sentences"), re.MULTILINE)[1:]
    patterns = [_pattern(row) for row in rows if not row.startswith("…")]  # what is added to others
    return sum(bool(pattern.fullmatch(sentence)) for pattern in patterns)


_PLACES = {
    "…": ".*",
    "n": r"[-+\d.,]+%?",
    "m": r"[-+\d.,]+%?",
    "A": ".+",
    "B": ".+",
    "*fate*": r"\w+",
    "`ess`": r"`\w+`",
}
"""What stands in a row for what differs from report to report."""


def _pattern(row):
    """A whole sentence of the page as an expression; `better / worse` is one of the two."""
    pieces = re.split(r"(…|\b[nmAB]\b|\*fate\*|`ess`|\w+ / \w+)", row)
    return re.compile("".join(map(_piece, pieces)) + r"\.?")


def _piece(text):
    if re.fullmatch(r"\w+ / \w+", text):
        return f"(?:{text.replace(' / ', '|')})"
    return _PLACES.get(text, re.escape(text))
