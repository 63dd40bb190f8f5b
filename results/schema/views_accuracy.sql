-- What it cost in accuracy.

-- Every evaluation, in per cent. `latest` marks a run's highest evaluated checkpoint for that task.
-- A base model is labelled `base`, and `base (<slug>)` where the sweep has several.
CREATE VIEW accuracy AS
WITH base_models AS (
    -- also those not evaluated yet: a label must not change as results arrive
    SELECT sweep, count(DISTINCT base_slug) AS models
    FROM (SELECT sweep, base_slug FROM runs UNION ALL SELECT sweep, base_slug FROM evals) GROUP BY sweep
)
SELECT
    e.sweep, CASE WHEN e.base_slug IS NULL THEN coalesce(r.label, e.run_name)
                  WHEN m.models > 1 THEN 'base (' || e.base_slug || ')' ELSE 'base' END AS label, coalesce(r.position, -1) AS position, e.run_name,
    coalesce(e.base_slug, r.base_slug) AS base_slug, r.arm_id, r.seed, e.checkpoint, e.task, e.num_fewshot,
    e.metric, e.filter, e.higher_is_better, 100 * e.value AS value_percent,
    -- lm-eval leaves the error out where it was told not to bootstrap; that of a share needs none
    100 * coalesce(e.stderr, CASE WHEN e.metric = 'exact_match' AND e.questions > 1
                             THEN sqrt(e.value * (1 - e.value) / (e.questions - 1)) END) AS stderr_percent,
    e.questions, e.settings, e.path,
    e.checkpoint = max(e.checkpoint) OVER (PARTITION BY e.sweep, e.run_name, e.base_slug, e.task) AS latest
FROM evals AS e
LEFT JOIN runs AS r USING (sweep, run_name)
LEFT JOIN base_models AS m USING (sweep);

-- Differences in percentage points from the base model, the matched baseline and the reference arm.
CREATE VIEW accuracy_deltas AS
WITH pairs AS (
    SELECT sweep, run_name, against, other_run, NULL AS other_base FROM comparisons
    UNION ALL
    SELECT sweep, run_name, 'base', NULL, base_slug FROM runs
)
SELECT
    a.sweep, a.run_name, a.label, a.position, a.arm_id, a.seed, a.checkpoint, a.task, a.num_fewshot,
    a.metric, a.filter, p.against, p.other_run, b.label AS other_label,
    a.value_percent, b.value_percent AS other_percent, a.value_percent - b.value_percent AS delta_points,
    a.stderr_percent, b.stderr_percent AS other_stderr_percent, a.questions,
    a.settings, b.settings AS other_settings, a.path, b.path AS other_path, a.higher_is_better
FROM accuracy AS a
JOIN pairs AS p ON p.sweep = a.sweep AND p.run_name = a.run_name
JOIN accuracy AS b
    ON b.sweep = a.sweep AND b.task = a.task AND b.num_fewshot = a.num_fewshot AND b.metric = a.metric
    AND b.filter = a.filter AND b.latest
    AND (b.run_name = p.other_run OR (b.run_name IS NULL AND b.base_slug = p.other_base))
WHERE a.latest;
