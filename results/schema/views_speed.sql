-- How fast, and where the time goes.

-- Whole sync cycles after the first: what intervals and throughput ratios are computed from. The first
-- cycle fills the pipeline, as does the first after a resume; a partial one over-weights some positions.
-- Seconds are added in whole nanoseconds: a sum of fractions would depend on the order rows are read in.
CREATE VIEW sync_cycles AS
WITH begun_again AS (
    SELECT e.sweep, e.run_name, e.from_step // coalesce(r.sync_interval_steps, 1) AS cycle
    FROM resumes AS e
    JOIN runs AS r USING (sweep, run_name)
)
SELECT c.sweep, c.run_name, c.cycle, c.steps, c.wall_s, c.prompts, c.completion_tokens
FROM (
    SELECT
        s.sweep, s.run_name, s.step // coalesce(r.sync_interval_steps, 1) AS cycle,
        coalesce(r.sync_interval_steps, 1) AS interval_steps,
        count(*) AS steps, sum((s.wall_s * 1e9)::BIGINT) / 1e9 AS wall_s, sum(s.prompts)::BIGINT AS prompts,
        sum(s.completion_tokens)::BIGINT AS completion_tokens
    FROM steps AS s
    JOIN runs AS r USING (sweep, run_name)
    GROUP BY s.sweep, s.run_name, cycle, interval_steps
) AS c
ANTI JOIN begun_again USING (sweep, run_name, cycle)
WHERE c.steps = c.interval_steps AND c.cycle >= 1;

-- Point estimates, > 1 is faster than `other_run`. step_time is the reference's own figure (all steps);
-- the others use whole sync cycles after the first, whose sums results.derived keeps in run_rates.
CREATE VIEW speedups AS
WITH rates AS (
    SELECT sweep, run_name, max(cycles) AS cycles,
        max(log_rate) FILTER (unit = 'prompts') AS prompts,
        max(log_rate) FILTER (unit = 'completion_tokens') AS completion_tokens
    FROM run_rates GROUP BY sweep, run_name
)
SELECT
    c.sweep, c.run_name, a.label, a.position, c.against, c.other_run, b.label AS other_label,
    b.training_s / a.training_s AS training_time_ratio,
    b.step_mean_s / a.step_mean_s AS step_time_speedup,
    a.prompts_per_optim_step = b.prompts_per_optim_step AS step_time_comparable,
    exp(x.prompts - y.prompts) AS prompts_per_s_speedup,
    exp(x.completion_tokens - y.completion_tokens) AS completion_tokens_per_s_speedup,
    x.cycles, y.cycles AS other_cycles
FROM comparisons AS c
JOIN run_summary AS a ON a.sweep = c.sweep AND a.run_name = c.run_name
JOIN run_summary AS b ON b.sweep = c.sweep AND b.run_name = c.other_run
LEFT JOIN rates AS x ON x.sweep = c.sweep AND x.run_name = c.run_name
LEFT JOIN rates AS y ON y.sweep = c.sweep AND y.run_name = c.other_run;

-- Step times of every run with steps, the first cycle among them; percentiles interpolate between steps.
-- Sums are taken in the steps' order, so that the same steps give the same bits.
CREATE VIEW step_summary AS
SELECT
    s.sweep, s.run_name, r.label, r.position, count(*) AS steps,
    avg(s.wall_s ORDER BY s.step) AS step_mean_s, stddev_samp(s.wall_s ORDER BY s.step) AS step_std_s,
    min(s.wall_s) AS step_min_s,
    quantile_cont(s.wall_s, 0.05) AS step_p5_s, quantile_cont(s.wall_s, 0.25) AS step_p25_s,
    median(s.wall_s) AS step_median_s, quantile_cont(s.wall_s, 0.75) AS step_p75_s,
    quantile_cont(s.wall_s, 0.95) AS step_p95_s, quantile_cont(s.wall_s, 0.99) AS step_p99_s,
    max(s.wall_s) AS step_max_s
FROM steps AS s
JOIN runs AS r USING (sweep, run_name)
GROUP BY s.sweep, s.run_name, r.label, r.position;

-- Where a step's time goes by its position in the sync cycle; position 0 follows a sync.
CREATE VIEW step_positions AS
SELECT
    s.sweep, s.run_name, s.step % coalesce(r.sync_interval_steps, 1) AS cycle_position, count(*) AS steps,
    avg(s.wall_s ORDER BY s.step) AS wall_s, stddev_samp(s.wall_s ORDER BY s.step) AS wall_std_s,
    avg(s.wait_s ORDER BY s.step) AS wait_s, avg(s.drain_s ORDER BY s.step) AS drain_s,
    avg(s.learn_s ORDER BY s.step) AS learn_s, avg(s.sync_s ORDER BY s.step) AS sync_s,
    avg(s.checkpoint_s ORDER BY s.step) AS checkpoint_s, avg(s.other_s ORDER BY s.step) AS other_s,
    avg(s.off_policy_steps_mean ORDER BY s.step) AS off_policy_steps_mean
FROM steps AS s
JOIN runs AS r USING (sweep, run_name)
WHERE s.step >= coalesce(r.sync_interval_steps, 1)
GROUP BY s.sweep, s.run_name, cycle_position;
