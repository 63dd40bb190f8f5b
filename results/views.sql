-- Views: the public interface of `sweepctl query`. Statistics that SQL cannot do (intervals, tests,
-- modes) are functions of results.tables over these.

-- Every dispatch has one fate. Without a group line it is unresolved: running, waiting in a checkpoint, or
-- lost when the run died.
CREATE VIEW group_fates AS
SELECT
    d.sweep, d.run_name, d.attempt, d.group_id, d.prompt_id, d.version AS dispatched_version,
    coalesce(g.fate, 'unresolved') AS fate,
    g.step, g.version_min, g.version_max, g.dispatched_s, g.finished_s, g.verified_s, g.consumed_s,
    g.step - g.version_min AS off_policy_steps,     -- NULL unless trained
    g.reward_mean, g.prompt_tokens, g.completion_tokens, g.truncated
FROM dispatches AS d
LEFT JOIN groups AS g USING (sweep, run_name, group_id);

-- Whole sync cycles after the first: what intervals and throughput ratios are computed from. The first
-- cycle fills the pipeline, as does the first after a resume; a partial one over-weights some positions.
CREATE VIEW sync_cycles AS
SELECT
    s.sweep, s.run_name, s.step // coalesce(r.sync_interval_steps, 1) AS cycle,
    count(*) AS steps, sum(s.wall_s) AS wall_s, sum(s.prompts)::BIGINT AS prompts,
    sum(s.completion_tokens)::BIGINT AS completion_tokens
FROM steps AS s
JOIN runs AS r USING (sweep, run_name)
GROUP BY s.sweep, s.run_name, cycle, r.sync_interval_steps
HAVING count(*) = coalesce(r.sync_interval_steps, 1) AND cycle >= 1 AND NOT EXISTS (
    FROM resumes AS e WHERE e.sweep = s.sweep AND e.run_name = s.run_name
        AND e.from_step // coalesce(r.sync_interval_steps, 1) = cycle
);

-- Seconds in which at least one request ran: the union of the engine's `generate` spans.
CREATE VIEW engine_busy AS
WITH ordered AS (
    SELECT sweep, run_name, start_s, end_s,
        max(end_s) OVER (
            PARTITION BY sweep, run_name ORDER BY start_s, end_s
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS reached_s
    FROM spans WHERE lane = 'engine' AND name = 'generate'
)
SELECT sweep, run_name,
    sum(greatest(0, end_s - greatest(start_s, coalesce(reached_s, start_s)))) AS engine_busy_s
FROM ordered GROUP BY sweep, run_name;

-- One row per run of the plan, whatever became of it; figures over all its steps.
CREATE VIEW run_summary AS
WITH per_run AS (
    SELECT
        sweep, run_name, count(*) AS steps_done, sum(wall_s) AS training_s,
        avg(wall_s) AS step_mean_s, median(wall_s) AS step_median_s, stddev_samp(wall_s) AS step_std_s,
        min(wall_s) AS step_min_s, max(wall_s) AS step_max_s,
        sum(prompts)::BIGINT AS prompts, sum(completions)::BIGINT AS completions,
        sum(prompt_tokens)::BIGINT AS prompt_tokens, sum(completion_tokens)::BIGINT AS completion_tokens,
        sum(wait_s) AS wait_s, sum(drain_s) AS drain_s, sum(learn_s) AS learn_s, sum(sync_s) AS sync_s,
        sum(checkpoint_s) AS checkpoint_s, sum(other_s) AS other_s,
        sum(off_policy_steps_mean * prompts) / sum(prompts) AS off_policy_steps_mean,
        max(off_policy_steps_max) AS off_policy_steps_max,
        avg(truncated_fraction) AS truncated_fraction
    FROM steps GROUP BY sweep, run_name
),
fifths AS (
    SELECT sweep, run_name,
        avg(reward_mean) FILTER (part = 1) AS reward_first_fifth,
        avg(reward_mean) FILTER (part = 5) AS reward_last_fifth
    FROM (SELECT *, ntile(5) OVER (PARTITION BY sweep, run_name ORDER BY step) AS part FROM steps)
    GROUP BY sweep, run_name
),
per_fate AS (
    SELECT sweep, run_name, count(*) AS groups_dispatched,
        count(*) FILTER (fate = 'trained') AS groups_trained,
        count(*) FILTER (fate = 'filtered') AS groups_filtered,
        -- discarded: an attempt was cut off, which says nothing of the settings
        count(*) FILTER (fate NOT IN ('trained', 'filtered', 'unresolved', 'discarded')) AS groups_wasted,
        sum(completion_tokens) FILTER (fate = 'trained')
            / sum(completion_tokens) FILTER (fate <> 'discarded') AS trained_token_share
    FROM group_fates GROUP BY sweep, run_name
),
latest AS (
    SELECT sweep, run_name, count(*) AS attempts, arg_max(engine, attempt) AS engine,
        min(unix_time) AS started_unix
    FROM attempts GROUP BY sweep, run_name
)
SELECT
    r.sweep, r.run_name, r.position, r.label, r.run_id, r.arm_id, r.state, r.reason, r.profile, r.model,
    r.task, r.seed, r.max_steps, r.max_staleness, r.prompts_per_optim_step, r.prompts_per_rollout_sync,
    r.sync_interval_steps, r.completions_per_prompt, r.lr, l.engine, l.attempts, l.started_unix,
    r.heartbeat_unix, coalesce(p.steps_done, 0) AS steps_done,
    p.training_s, p.step_mean_s, p.step_median_s, p.step_std_s, p.step_min_s, p.step_max_s,
    p.prompts, p.completions, p.prompt_tokens, p.completion_tokens,
    p.prompts / p.training_s AS prompts_per_s,
    p.completion_tokens / p.training_s AS completion_tokens_per_s,
    p.wait_s, p.drain_s, p.learn_s, p.sync_s, p.checkpoint_s, p.other_s, b.engine_busy_s,
    -- prompts/s measured over prompts/s if the busier of engine and learner never waited
    greatest(b.engine_busy_s, p.learn_s + p.checkpoint_s + p.other_s) / p.training_s AS overlap_efficiency,
    p.off_policy_steps_mean, p.off_policy_steps_max, p.truncated_fraction,
    x.reward_first_fifth, x.reward_last_fifth,
    f.groups_dispatched, f.groups_trained, f.groups_filtered, f.groups_wasted, f.trained_token_share
FROM runs AS r
LEFT JOIN per_run AS p USING (sweep, run_name)
LEFT JOIN fifths AS x USING (sweep, run_name)
LEFT JOIN per_fate AS f USING (sweep, run_name)
LEFT JOIN latest AS l USING (sweep, run_name)
LEFT JOIN engine_busy AS b USING (sweep, run_name);

-- Point estimates, > 1 is faster than `other_run`. step_time is the reference's own figure (all steps);
-- the others use whole sync cycles after the first.
CREATE VIEW speedups AS
WITH rates AS (
    SELECT sweep, run_name, count(*) AS cycles, sum(prompts) / sum(wall_s) AS prompts_per_s,
        sum(completion_tokens) / sum(wall_s) AS completion_tokens_per_s
    FROM sync_cycles GROUP BY sweep, run_name
)
SELECT
    c.sweep, c.run_name, a.label, a.position, c.against, c.other_run, b.label AS other_label,
    b.training_s / a.training_s AS training_time_ratio,
    b.step_mean_s / a.step_mean_s AS step_time_speedup,
    a.prompts_per_optim_step = b.prompts_per_optim_step AS step_time_comparable,
    x.prompts_per_s / y.prompts_per_s AS prompts_per_s_speedup,
    x.completion_tokens_per_s / y.completion_tokens_per_s AS completion_tokens_per_s_speedup,
    x.cycles, y.cycles AS other_cycles
FROM comparisons AS c
JOIN run_summary AS a ON a.sweep = c.sweep AND a.run_name = c.run_name
JOIN run_summary AS b ON b.sweep = c.sweep AND b.run_name = c.other_run
LEFT JOIN rates AS x ON x.sweep = c.sweep AND x.run_name = c.run_name
LEFT JOIN rates AS y ON y.sweep = c.sweep AND y.run_name = c.other_run;

-- Where a step's time goes by its position in the sync cycle; position 0 follows a sync.
CREATE VIEW step_positions AS
SELECT
    s.sweep, s.run_name, s.step % coalesce(r.sync_interval_steps, 1) AS cycle_position, count(*) AS steps,
    avg(s.wall_s) AS wall_s, stddev_samp(s.wall_s) AS wall_std_s, avg(s.wait_s) AS wait_s,
    avg(s.drain_s) AS drain_s, avg(s.learn_s) AS learn_s, avg(s.sync_s) AS sync_s,
    avg(s.checkpoint_s) AS checkpoint_s, avg(s.other_s) AS other_s,
    avg(s.off_policy_steps_mean) AS off_policy_steps_mean
FROM steps AS s
JOIN runs AS r USING (sweep, run_name)
WHERE s.step >= coalesce(r.sync_interval_steps, 1)
GROUP BY s.sweep, s.run_name, cycle_position;

-- Age of trained groups: how many optimizer steps the learner was ahead of the policy that began them.
CREATE VIEW staleness AS
SELECT
    g.sweep, g.run_name, r.label, r.position, r.max_staleness, g.off_policy_steps, count(*) AS groups,
    count(*) / sum(count(*)) OVER (PARTITION BY g.sweep, g.run_name) AS share
FROM group_fates AS g
JOIN runs AS r USING (sweep, run_name)
WHERE g.fate = 'trained'
GROUP BY g.sweep, g.run_name, r.label, r.position, r.max_staleness, g.off_policy_steps;

-- Groups and completion tokens by fate; everything but `trained` is work that taught nothing.
CREATE VIEW fates AS
SELECT
    g.sweep, g.run_name, r.label, r.position, g.fate, count(*) AS groups,
    count(*) / sum(count(*)) OVER (PARTITION BY g.sweep, g.run_name) AS share,
    coalesce(sum(g.completion_tokens), 0)::BIGINT AS completion_tokens
FROM group_fates AS g
JOIN runs AS r USING (sweep, run_name)
GROUP BY g.sweep, g.run_name, r.label, r.position, g.fate;

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
