-- How old what was trained on was, and what became of the rest.

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
