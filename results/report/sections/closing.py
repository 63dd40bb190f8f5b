"""Where the sweep's files are, and how to do it again."""

import shlex
from collections.abc import Iterator

from results.report.build import Report
from results.report.document import Commands, Section, Sentences, Sheet

_MEASURED = (
    ("sweep.json, spec.yaml", "the spec as resolved and as written, the plan, environment and state of git"),
    ("<run>/config.json", "the run's whole configuration"),
    ("<run>/trace.jsonl", "everything that happened, one JSON object a line"),
    ("<run>/rollouts.jsonl", "sampled text, tokens, logprobs and rewards"),
    ("<run>/checkpoints/step_<n>/", "weights, for transformers, vLLM and lm-eval"),
)
_IMPORTED = (("sweep.json", "what is known of the runs, published figures among it"),)
_EVALUATED = (
    ("<run>/eval/<checkpoint>/<task>_<n>shot.json", "lm-eval's own output, samples beside it"),
    ("base_models/<model>/", "the same of the untrained model"),
)


def closing_sections(report: Report) -> Iterator[Section]:
    """File structure; reproduction, unless the sweep was made elsewhere."""
    measured = report.experiments["training_s"].notna().any()
    unmeasured = _IMPORTED if len(report.published_speed) else _MEASURED[:1]
    files = (*(_MEASURED if measured else unmeasured), *_EVALUATED)
    yield Section(
        "File structure",
        (Sheet("", (f"Below {report.sweep}/", "What it is"), files, text_columns=2),),
    )
    file = report.spec.get("file")
    if isinstance(file, str):
        yield Section("Reproduction", tuple(_again(report, file)))


def _again(report: Report, file: str) -> Iterator[Sentences | Commands]:
    commit = report.git.get("commit")
    if isinstance(commit, str):
        dirty = (
            "; it had changes on top, kept beside sweep.json as git-<digest>.diff"
            if report.git.get("dirty")
            else ""
        )
        yield Sentences((f"The code was at commit {commit[:12]}{dirty}.",))
    words = ["sweepctl", "run", file, *(("--profile", report.profile) if report.profile else ())]
    words += [word for given in report.spec.get("set") or () for word in ("--set", str(given))]
    again = shlex.join(words)
    feasible = report.experiments.loc[report.experiments["state"] != "infeasible", "run_name"]
    run = next(iter(feasible), "RUN")
    yield Commands(
        (
            "# all runs, their evaluations and this report",
            again,
            f"sweepctl report {shlex.quote(report.sweep)}",
            "# one of them, by its label or name",
            f"{again} --only {shlex.quote(run)}",
        )
    )
