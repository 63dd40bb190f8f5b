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

-- One row per run of the plan, whatever became of it; figures over all its steps.
CREATE VIEW run_summary AS
WITH latest AS (
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
    p.wait_s, p.drain_s, p.learn_s, p.sync_s, p.checkpoint_s, p.other_s, p.engine_busy_s,
    -- prompts/s measured over prompts/s if the busier of engine and learner never waited; NULL where it is
    -- not known when the engine was busy
    CASE WHEN p.engine_busy_s IS NOT NULL
        THEN greatest(p.engine_busy_s, p.learn_s + p.checkpoint_s + p.other_s) / p.training_s
    END AS overlap_efficiency,
    p.off_policy_steps_mean, p.off_policy_steps_max, p.truncated_fraction,
    p.reward_first_fifth, p.reward_last_fifth,
    p.groups_dispatched, p.groups_trained, p.groups_filtered, p.groups_lost, p.trained_token_share
FROM runs AS r
LEFT JOIN run_totals AS p USING (sweep, run_name)
LEFT JOIN latest AS l USING (sweep, run_name);
