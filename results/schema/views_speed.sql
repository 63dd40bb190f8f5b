-- How fast, and where the time goes.

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
