-- Table run_totals for the runs of the temporary table `chosen` (sweep, run_name): sums over all their rows,
-- so that a report over a thousand runs need not add up a million steps. Floating-point sums are in the order
-- of the steps: the same to the last bit, in whatever pieces the rows were read.
INSERT INTO run_totals BY NAME
WITH their_steps AS (FROM steps SEMI JOIN chosen USING (sweep, run_name)),
per_run AS (
    SELECT
        sweep, run_name, count(*) AS steps_done, sum(wall_s ORDER BY step) AS training_s,
        avg(wall_s ORDER BY step) AS step_mean_s, median(wall_s) AS step_median_s,
        stddev_samp(wall_s ORDER BY step) AS step_std_s,
        min(wall_s) AS step_min_s, max(wall_s) AS step_max_s,
        sum(prompts)::BIGINT AS prompts, sum(completions)::BIGINT AS completions,
        sum(prompt_tokens)::BIGINT AS prompt_tokens, sum(completion_tokens)::BIGINT AS completion_tokens,
        sum(wait_s ORDER BY step) AS wait_s, sum(drain_s ORDER BY step) AS drain_s,
        sum(learn_s ORDER BY step) AS learn_s, sum(sync_s ORDER BY step) AS sync_s,
        sum(checkpoint_s ORDER BY step) AS checkpoint_s, sum(other_s ORDER BY step) AS other_s,
        sum(off_policy_steps_mean * prompts ORDER BY step) / sum(prompts) AS off_policy_steps_mean,
        max(off_policy_steps_max) AS off_policy_steps_max,
        avg(truncated_fraction ORDER BY step) AS truncated_fraction,
        CASE WHEN count(engine_idle_s) = count(*) THEN sum(engine_idle_s ORDER BY step) END AS engine_idle_s
    FROM their_steps GROUP BY sweep, run_name
),
fifths AS (
    SELECT sweep, run_name,
        avg(reward_mean ORDER BY step) FILTER (part = 1) AS reward_first_fifth,
        avg(reward_mean ORDER BY step) FILTER (part = 5) AS reward_last_fifth
    FROM (
        SELECT sweep, run_name, step, reward_mean,
            ntile(5) OVER (PARTITION BY sweep, run_name ORDER BY step) AS part
        FROM their_steps
    )
    GROUP BY sweep, run_name
),
their_fates AS (
    SELECT d.sweep, d.run_name, group_id, coalesce(g.fate, 'unresolved') AS fate, g.completion_tokens,
        g.finished_s - g.dispatched_s AS latency_s
    FROM (FROM dispatches SEMI JOIN chosen USING (sweep, run_name)) AS d
    LEFT JOIN (FROM groups SEMI JOIN chosen USING (sweep, run_name)) AS g USING (sweep, run_name, group_id)
),
per_fate AS (
    SELECT sweep, run_name, count(*) AS groups_dispatched,
        count(*) FILTER (fate = 'trained') AS groups_trained,
        count(*) FILTER (fate = 'filtered') AS groups_filtered,
        -- evicted, aborted, failed, leftover: wasted though nobody judged them useless, as a filter does.
        -- discarded: an attempt was cut off, which says nothing of the settings
        count(*) FILTER (fate NOT IN ('trained', 'filtered', 'unresolved', 'discarded')) AS groups_lost,
        count(*) FILTER (fate NOT IN ('unresolved', 'discarded')) AS groups_settled,
        avg(latency_s ORDER BY group_id) FILTER (fate <> 'discarded') AS latency_s,
        sum(completion_tokens) FILTER (fate = 'trained')
            / sum(completion_tokens) FILTER (fate <> 'discarded') AS trained_token_share
    FROM their_fates GROUP BY sweep, run_name
),
generating AS (
    SELECT sweep, run_name, start_s, end_s,
        max(end_s) OVER (
            PARTITION BY sweep, run_name ORDER BY start_s, end_s
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS reached_s
    FROM spans SEMI JOIN chosen USING (sweep, run_name) WHERE lane = 'engine' AND name = 'generate'
),
busy AS (
    -- Seconds in which at least one request ran: the union of the engine's `generate` spans.
    SELECT sweep, run_name,
        sum(
            greatest(0, end_s - greatest(start_s, coalesce(reached_s, start_s))) ORDER BY start_s, end_s
        ) AS engine_busy_s
    FROM generating GROUP BY sweep, run_name
)
FROM chosen
LEFT JOIN per_run USING (sweep, run_name)
LEFT JOIN fifths USING (sweep, run_name)
LEFT JOIN per_fate USING (sweep, run_name)
LEFT JOIN busy USING (sweep, run_name);
