"""What staleness did in a sweep, as Markdown: `python scripts/staleness_table.py SWEEP [RUNS_DIR]`.

Made for sweeps/correction.yaml. Figures over steps leave the warm-up of the learning rate in: nothing is
cut off. The reward curve is the mean over each quarter of the steps.
"""

import sys
from pathlib import Path

from results.store import Store

QUERY = """
WITH numbered AS (
    SELECT *, ntile(4) OVER (PARTITION BY run_name ORDER BY step) AS quarter FROM steps WHERE sweep = $sweep
), curves AS (
    SELECT run_name, quarter, avg(reward_mean) AS reward FROM numbered GROUP BY ALL
), figures AS (
    SELECT run_name, avg(off_policy_steps_mean) AS age, avg(ess) AS ess, min(ess) AS ess_min,
        max(ratio_max) AS ratio_max, min(ratio_min) AS ratio_min, avg(logprob_gap_mean) AS gap,
        avg(clip_fraction) AS clipped, avg(corrected_fraction) AS corrected
    FROM numbered GROUP BY run_name
)
SELECT r.max_staleness AS s, json_extract_string(r.config, '$.correction.name') AS correction,
    list(c.reward ORDER BY c.quarter) AS rewards, any_value(f) AS f,
    any_value(a.value_percent) AS accuracy, any_value(a.stderr_percent) AS stderr,
    any_value(a.questions) AS questions
FROM runs AS r JOIN curves AS c USING (run_name) JOIN figures AS f USING (run_name)
LEFT JOIN (
    SELECT run_name, value_percent, stderr_percent, questions FROM accuracy
    WHERE sweep = $sweep AND latest AND num_fewshot = 0 AND filter LIKE 'strict%'
) AS a USING (run_name)
WHERE r.sweep = $sweep
GROUP BY r.position, s, correction ORDER BY r.position
"""

COLUMNS = (
    "correction",
    "s",
    "mean age",
    "reward by quarter",
    "ESS mean (least)",
    "ratio least – most",
    "\\|log r\\| mean",
    "clipped",
    "cut off",
    "accuracy",
)


def main() -> None:
    sweep, runs_dir = sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else "runs")
    print("| " + " | ".join(COLUMNS) + " |")
    print("| " + " | ".join([":--"] + ["--:"] * (len(COLUMNS) - 1)) + " |")
    for row in Store(runs_dir).query(QUERY, {"sweep": sweep}).to_dict("records"):
        f = row["f"]
        cells = (
            row["correction"],
            row["s"],
            f"{f['age']:.2f}",
            " ".join(f"{reward:.2f}" for reward in row["rewards"]),
            f"{f['ess']:.3f} ({f['ess_min']:.3f})",
            f"{f['ratio_min']:.3g} – {f['ratio_max']:.3g}",
            f"{f['gap']:.4f}",
            f"{f['clipped']:.2%}",
            "–" if f["corrected"] is None else f"{f['corrected']:.2%}",
            f"{row['accuracy']:.1f} % ± {row['stderr']:.1f}",
        )
        print("| " + " | ".join(map(str, cells)) + " |")


if __name__ == "__main__":
    main()
