-- What it cost in accuracy.

-- Every result, in per cent, lm-eval's and published ones. `latest` marks a run's highest evaluated
-- checkpoint for that task. A base model is labelled `base`, and `base (<slug>)` where the sweep has
-- several; its repeated evaluations are in `base_repeats` only. `steps_trained` is read from a checkpoint's
-- name, and NULL where it has another, as imported ones may; `prompts_trained` are those of its steps.
CREATE VIEW accuracy AS
WITH base_models AS (
    -- also those not evaluated yet: a label must not change as results arrive
    SELECT sweep, count(DISTINCT base_slug) AS models
    FROM (SELECT sweep, base_slug FROM runs UNION ALL SELECT sweep, base_slug FROM evals) GROUP BY sweep
), measured AS (
    SELECT
        sweep, run_name, base_slug, checkpoint, task, num_fewshot, metric, filter, higher_is_better,
        100 * value AS value_percent, 100 * stderr AS stderr_percent, questions, settings, path,
        'lm-eval' AS source,
        checkpoint = max(checkpoint) OVER (PARTITION BY sweep, run_name, base_slug, task) AS latest
    FROM evals WHERE run_name IS NOT NULL OR checkpoint = 'base'
), published AS (
    -- of a result that is there itself, what was published of it is left out
    SELECT
        sweep, run_name, NULL::VARCHAR AS base_slug, 'published' AS checkpoint, task, num_fewshot,
        'exact_match' AS metric, filter, true AS higher_is_better,
        exact_percent AS value_percent, NULL::DOUBLE AS stderr_percent, questions, NULL::JSON AS settings,
        NULL::VARCHAR AS path, 'published' AS source, true AS latest
    FROM published_accuracy AS p
    ANTI JOIN evals AS e
        ON e.sweep = p.sweep AND e.run_name = p.run_name AND e.task = p.task
        AND e.num_fewshot = p.num_fewshot AND e.metric = 'exact_match' AND e.filter = p.filter
), results AS (SELECT * FROM measured UNION ALL BY NAME SELECT * FROM published)
SELECT
    e.sweep, CASE WHEN e.base_slug IS NULL THEN coalesce(r.label, e.run_name)
                  WHEN m.models > 1 THEN 'base (' || e.base_slug || ')' ELSE 'base' END AS label,
    coalesce(r.position, -1) AS position, e.run_name,
    coalesce(e.base_slug, r.base_slug) AS base_slug, r.arm_id, r.seed, e.checkpoint, r.max_steps,
    TRY_CAST(regexp_extract(e.checkpoint, '^step_([0-9]+)$', 1) AS INTEGER) AS steps_trained,
    steps_trained * r.prompts_per_optim_step AS prompts_trained, e.task, e.num_fewshot,
    e.metric, e.filter, e.higher_is_better, e.value_percent,
    -- lm-eval leaves the error out where it was told not to bootstrap; that of a share needs none
    coalesce(e.stderr_percent, CASE WHEN e.metric = 'exact_match' AND e.questions > 1
        THEN sqrt(e.value_percent * (100 - e.value_percent) / (e.questions - 1)) END) AS stderr_percent,
    e.questions, e.settings, e.path, e.source, e.latest
FROM results AS e
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
    a.sweep, a.run_name, a.label, a.position, a.arm_id, a.seed, a.base_slug, a.checkpoint, a.task,
    a.num_fewshot, a.metric, a.filter, p.against, p.other_run, b.label AS other_label,
    a.value_percent, b.value_percent AS other_percent, a.value_percent - b.value_percent AS delta_points,
    a.stderr_percent, b.stderr_percent AS other_stderr_percent, a.questions,
    b.questions AS other_questions, a.settings, b.settings AS other_settings, a.path, b.path AS other_path,
    a.source, b.source AS other_source, a.higher_is_better, b.checkpoint AS other_checkpoint,
    a.steps_trained, b.steps_trained AS other_steps_trained, a.max_steps, b.max_steps AS other_max_steps,
    a.prompts_trained, b.prompts_trained AS other_prompts_trained
FROM accuracy AS a
JOIN pairs AS p ON p.sweep = a.sweep AND p.run_name = a.run_name
JOIN accuracy AS b
    ON b.sweep = a.sweep AND b.task = a.task AND b.num_fewshot = a.num_fewshot AND b.metric = a.metric
    AND b.filter = a.filter AND b.latest
    AND coalesce(b.run_name, '') = coalesce(p.other_run, '')
    AND (b.run_name IS NOT NULL OR b.base_slug = p.other_base)
WHERE a.latest;

-- A base model's later evaluations beside its first, of the same weights and settings.
CREATE VIEW base_repeats AS
SELECT
    r.sweep, r.base_slug, r.checkpoint, r.task, r.num_fewshot, r.metric, r.filter, r.questions,
    100 * f.value AS first_percent, 100 * r.value AS value_percent, 100 * (r.value - f.value) AS delta_points,
    r.path, f.path AS first_path
FROM evals AS r
JOIN evals AS f USING (sweep, base_slug, task, num_fewshot, metric, filter)
WHERE r.run_name IS NULL AND f.run_name IS NULL AND f.checkpoint = 'base' AND r.checkpoint <> 'base'
    AND r.settings = f.settings AND r.evaluation_id IS NOT DISTINCT FROM f.evaluation_id;
