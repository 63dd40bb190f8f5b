-- Views of runs and their groups. Views are the public interface of `sweepctl query`; statistics that SQL
-- cannot do (intervals, tests, modes) are in the derived tables and in results.tables.

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
