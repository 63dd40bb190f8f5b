"""SYNTHETIC: a sweep of two seeds whose samples have texts, with held-out evaluations and one refusal."""

import json
from pathlib import Path

from factories.sweep_factory import REFERENCE_ARMS, write_synthetic_sweep

from results.ingest import ingest
from trainer.records import HeldOut

SWEEP = "quality"
STEPS, QUESTIONS = 24, 30
HELD_OUT = {0: 0.25, 12: 0.5, 24: 0.75}
"""Accuracy by version of runs of seed 0; those of seed 1 have a tenth more."""
HTML = "<b>Leo</b> *pays* $9$"
"""Is in every question, as a text that must not be rendered."""


def write_quality_sweep(runs_dir: Path) -> Path:
    """Arms Exp3, Exp4, Exp5 with seeds 0 and 1; Exp5-seed1 was evaluated with another limit."""
    root = write_synthetic_sweep(
        runs_dir, SWEEP, steps=STEPS, questions=QUESTIONS, seeds=(0, 1), arms=REFERENCE_ARMS[2:], seed=5
    )
    for samples in root.rglob("*.samples.jsonl"):
        lines = [json.loads(line) for line in samples.read_text().splitlines()]
        samples.write_text("".join(json.dumps(line | texts(line)) + "\n" for line in lines))
    for result in root.glob("s1_opt8_sync16_*_seed1/eval/*/*shot.json"):
        content = json.loads(result.read_text())
        content["config"]["limit"] = 5
        result.write_text(json.dumps(content))
    for trace in root.glob("*/trace.jsonl"):
        with trace.open("a") as file:
            for version, accuracy in HELD_OUT.items():
                better = 0.1 if trace.parent.name.endswith("seed1") else 0.0
                record = HeldOut(
                    attempt=1,
                    t=1000.0,
                    version=version,
                    problems=40,
                    accuracy=accuracy + better,
                    truncated_fraction=0.0,
                    completion_tokens=100,
                    wall_s=1.0,
                )
                file.write(record.model_dump_json() + "\n")
    ingest(runs_dir)
    return root


def texts(line: dict) -> dict:
    """As lm-eval writes them: what was asked, what was given to the model, what it answered."""
    question = f"Question {line['doc_id']}: {HTML}"
    return {
        "doc": {"question": question, "answer": line["target"]},
        "arguments": {"gen_args_0": {"arg_0": f"Worked example\n\n{question}\nAnswer:", "arg_1": {}}},
        "resps": [[f"So it is {line['filtered_resps'][0]}."]],
    }
