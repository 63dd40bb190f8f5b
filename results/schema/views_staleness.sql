-- How old what was trained on was, and what became of the rest. Groups are read by their own lines.

-- Age of trained groups, by where it came from: optimizer steps done while the group was generated, and
-- while it waited, finished, for its turn. NULL parts: the trace does not say.
CREATE VIEW staleness_parts AS
SELECT
    g.sweep, g.run_name, r.label, r.position, r.max_staleness,
    g.step - g.version_min AS off_policy_steps,
    g.finished_version - g.version_min AS in_flight_steps,
    g.step - g.finished_version AS in_queue_steps,
    count(*) AS groups,
    count(*) / sum(count(*)) OVER whole AS share,
    sum(g.completion_tokens)::BIGINT AS completion_tokens,
    sum(g.completion_tokens) / sum(sum(g.completion_tokens)) OVER whole AS token_share
FROM groups AS g
JOIN runs AS r USING (sweep, run_name)
WHERE g.fate = 'trained'
GROUP BY
    g.sweep, g.run_name, r.label, r.position, r.max_staleness,
    g.step - g.version_min, g.finished_version - g.version_min, g.step - g.finished_version
WINDOW whole AS (PARTITION BY g.sweep, g.run_name);

-- Age of trained groups: how many optimizer steps the learner was ahead of the policy that began them.
CREATE VIEW staleness AS
SELECT
    sweep, run_name, label, position, max_staleness, off_policy_steps,
    sum(groups)::BIGINT AS groups, sum(share) AS share,
    sum(completion_tokens)::BIGINT AS completion_tokens, sum(token_share) AS token_share,
    sum(in_flight_steps * groups) / sum(groups) FILTER (in_flight_steps IS NOT NULL) AS in_flight_steps_mean,
    sum(in_queue_steps * groups) / sum(groups) FILTER (in_queue_steps IS NOT NULL) AS in_queue_steps_mean
FROM staleness_parts
GROUP BY sweep, run_name, label, position, max_staleness, off_policy_steps;

-- Groups, completions and completion tokens by fate; everything but `trained` is work that taught nothing.
-- Completions are those asked for; tokens are those that came. Token shares leave `discarded` out: that an
-- attempt was cut off says nothing of the settings.
CREATE VIEW fates AS
WITH counted AS (
    SELECT sweep, run_name, fate, count(*) AS groups,
        coalesce(sum(completion_tokens), 0)::BIGINT AS completion_tokens
    FROM groups GROUP BY sweep, run_name, fate
    UNION ALL
    SELECT sweep, run_name, 'unresolved', count(*), 0
    FROM dispatches ANTI JOIN groups USING (sweep, run_name, group_id) GROUP BY sweep, run_name
)
SELECT
    c.sweep, c.run_name, r.label, r.position, c.fate, c.groups,
    c.groups / sum(c.groups) OVER whole AS share,
    c.groups * r.completions_per_prompt AS completions,
    c.completion_tokens,
    CASE WHEN c.fate <> 'discarded' THEN
        c.completion_tokens / nullif(sum(c.completion_tokens) FILTER (c.fate <> 'discarded') OVER whole, 0)
    END AS token_share
FROM counted AS c
JOIN runs AS r USING (sweep, run_name)
WINDOW whole AS (PARTITION BY c.sweep, c.run_name);
