-- Tables of the results store: what the files under runs/ say, one row per fact, and at the end what
-- results.derived computes of them. Keys are (sweep, run_name). Times `*_s` are seconds of run time,
-- `*_unix` seconds since 1970. A change here has every store read all files again; where an older release
-- must not touch the result, raise SCHEMA_VERSION in results.migration too.

CREATE TABLE sweeps (
    sweep VARCHAR NOT NULL,
    profile VARCHAR,
    created_unix DOUBLE,
    margin DOUBLE,                      -- equivalence margin of accuracy deltas, percentage points
    baseline JSON,
    reference JSON,
    base_models JSON,
    spec JSON,
    environment JSON,
    git JSON
);

CREATE TABLE runs (
    sweep VARCHAR NOT NULL,
    run_name VARCHAR NOT NULL,
    position BIGINT,                    -- place in the plan; NULL for a run no plan names
    label VARCHAR NOT NULL,             -- short name for tables: Exp1, or the run's name
    run_id VARCHAR,
    arm_id VARCHAR,                     -- shared by runs that differ only by seed
    state VARCHAR NOT NULL,             -- RunState, or 'infeasible'
    reason VARCHAR,                     -- why it is infeasible, failed, interrupted or skipped
    attempt BIGINT,
    heartbeat_unix DOUBLE,
    profile VARCHAR,
    model VARCHAR,
    base_slug VARCHAR,                  -- folder of this model's own evaluation under base_models/
    task VARCHAR,
    seed BIGINT,
    max_steps BIGINT,
    max_staleness BIGINT,               -- s
    prompts_per_optim_step BIGINT,      -- B
    prompts_per_rollout_sync BIGINT,    -- P
    sync_interval_steps BIGINT,         -- k = P / B
    completions_per_prompt BIGINT,
    lr DOUBLE,
    cores VARCHAR,                      -- JSON list of the cores the learner is pinned to
    config JSON
);

-- Who is compared with whom: `against` is 'baseline' (the matched twin) or 'reference'.
CREATE TABLE comparisons (
    sweep VARCHAR NOT NULL,
    run_name VARCHAR NOT NULL,
    against VARCHAR NOT NULL,
    other_run VARCHAR NOT NULL
);

CREATE TABLE attempts (
    sweep VARCHAR NOT NULL,
    run_name VARCHAR NOT NULL,
    attempt BIGINT NOT NULL,
    t DOUBLE NOT NULL,                  -- run time at which the attempt began
    run_id VARCHAR,
    model VARCHAR,
    engine VARCHAR,
    max_steps BIGINT,
    unix_time DOUBLE
);

CREATE TABLE resumes (
    sweep VARCHAR NOT NULL,
    run_name VARCHAR NOT NULL,
    attempt BIGINT NOT NULL,
    t DOUBLE NOT NULL,
    from_step BIGINT NOT NULL
);

CREATE TABLE dispatches (
    sweep VARCHAR NOT NULL,
    run_name VARCHAR NOT NULL,
    attempt BIGINT NOT NULL,
    t DOUBLE NOT NULL,
    group_id BIGINT NOT NULL,           -- `group` of the trace line
    prompt_id VARCHAR NOT NULL,
    epoch BIGINT,
    version BIGINT
);

CREATE TABLE groups (
    sweep VARCHAR NOT NULL,
    run_name VARCHAR NOT NULL,
    attempt BIGINT NOT NULL,
    t DOUBLE NOT NULL,
    group_id BIGINT NOT NULL,
    prompt_id VARCHAR NOT NULL,
    version_min BIGINT NOT NULL,
    version_max BIGINT,
    finished_version BIGINT,            -- the learner's version when generation ended
    dispatched_s DOUBLE,
    finished_s DOUBLE,
    verified_s DOUBLE,
    consumed_s DOUBLE,
    step BIGINT,
    fate VARCHAR NOT NULL,
    reward_mean DOUBLE,
    prompt_tokens BIGINT,
    completion_tokens BIGINT,
    truncated BIGINT
);

CREATE TABLE steps (
    sweep VARCHAR NOT NULL,
    run_name VARCHAR NOT NULL,
    attempt BIGINT NOT NULL,
    t DOUBLE NOT NULL,
    step BIGINT NOT NULL,
    policy_version BIGINT NOT NULL,
    start_s DOUBLE NOT NULL,
    wall_s DOUBLE NOT NULL,
    wait_s DOUBLE,
    drain_s DOUBLE,
    learn_s DOUBLE,
    sync_s DOUBLE,
    checkpoint_s DOUBLE,
    other_s DOUBLE,
    prompts BIGINT,
    completions BIGINT,
    prompt_tokens BIGINT,
    completion_tokens BIGINT,
    reward_mean DOUBLE,
    reward_std DOUBLE,
    loss DOUBLE,
    grad_norm DOUBLE,
    lr DOUBLE,
    kl DOUBLE,
    entropy DOUBLE,
    clip_fraction DOUBLE,
    ratio_mean DOUBLE,
    ratio_max DOUBLE,
    ratio_min DOUBLE,
    ess DOUBLE,
    logprob_gap_mean DOUBLE,
    logprob_gap_max DOUBLE,
    logprob_gap_p999 DOUBLE,
    corrected_fraction DOUBLE,
    off_policy_steps_mean DOUBLE,
    off_policy_steps_max BIGINT,
    in_flight_steps_mean DOUBLE,
    in_queue_steps_mean DOUBLE,
    queue_s_mean DOUBLE,
    engine_idle_s DOUBLE,
    truncated_fraction DOUBLE,
    filtered_groups BIGINT,
    evicted_groups BIGINT,
    aborted_groups BIGINT,
    failed_groups BIGINT
);

CREATE TABLE spans (
    sweep VARCHAR NOT NULL,
    run_name VARCHAR NOT NULL,
    attempt BIGINT NOT NULL,
    t DOUBLE NOT NULL,
    lane VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    start_s DOUBLE NOT NULL,
    end_s DOUBLE NOT NULL,
    step BIGINT
);

CREATE TABLE syncs (
    sweep VARCHAR NOT NULL,
    run_name VARCHAR NOT NULL,
    attempt BIGINT NOT NULL,
    t DOUBLE NOT NULL,
    version BIGINT NOT NULL,
    bytes BIGINT,
    wall_s DOUBLE,
    in_flight BIGINT
);

CREATE TABLE checkpoints (
    sweep VARCHAR NOT NULL,
    run_name VARCHAR NOT NULL,
    attempt BIGINT NOT NULL,
    t DOUBLE NOT NULL,
    step BIGINT NOT NULL,               -- policy version saved
    path VARCHAR,
    bytes BIGINT,
    wall_s DOUBLE
);

-- Evaluations on held-out problems during a run; `evaluations` holds lm-eval's.
CREATE TABLE held_out_evals (
    sweep VARCHAR NOT NULL,
    run_name VARCHAR NOT NULL,
    attempt BIGINT NOT NULL,
    t DOUBLE NOT NULL,
    version BIGINT NOT NULL,
    problems BIGINT NOT NULL,
    accuracy DOUBLE NOT NULL,
    truncated_fraction DOUBLE,
    completion_tokens BIGINT,
    wall_s DOUBLE
);

CREATE TABLE warnings (
    sweep VARCHAR NOT NULL,
    run_name VARCHAR NOT NULL,
    attempt BIGINT NOT NULL,
    t DOUBLE NOT NULL,
    message VARCHAR NOT NULL
);

CREATE TABLE finishes (
    sweep VARCHAR NOT NULL,
    run_name VARCHAR NOT NULL,
    attempt BIGINT NOT NULL,
    t DOUBLE NOT NULL,
    state VARCHAR NOT NULL,
    reason VARCHAR,
    policy_version BIGINT,
    wall_s DOUBLE,
    engine_requests BIGINT,
    engine_prompt_tokens BIGINT,
    engine_completion_tokens BIGINT
);

-- One row per metric and filter of an lm-eval result.
CREATE TABLE evals (
    path VARCHAR NOT NULL,              -- the result file, relative to the runs directory
    sweep VARCHAR NOT NULL,
    run_name VARCHAR,                   -- NULL for a base model
    base_slug VARCHAR,                  -- NULL for a run
    checkpoint VARCHAR NOT NULL,        -- step_000040, or 'base'
    task VARCHAR NOT NULL,
    num_fewshot BIGINT NOT NULL,
    metric VARCHAR NOT NULL,
    filter VARCHAR NOT NULL,
    higher_is_better BOOLEAN,
    value DOUBLE NOT NULL,              -- as lm-eval wrote it, usually a share in [0, 1]
    stderr DOUBLE,
    questions BIGINT,
    settings JSON NOT NULL,             -- what must agree before two results may be compared
    evaluation_id VARCHAR,
    wall_s DOUBLE
);

-- One row per question and filter; joins evals on (path, filter).
CREATE TABLE eval_samples (
    path VARCHAR NOT NULL,
    filter VARCHAR NOT NULL,
    doc_id BIGINT NOT NULL,
    doc_hash VARCHAR,
    target VARCHAR,
    answer VARCHAR,                     -- what the filter extracted
    exact_match DOUBLE NOT NULL
);

-- What was predicted of a run before its first step: results.files.predictions says what each figure is.
CREATE TABLE predictions (
    sweep VARCHAR NOT NULL,
    run_name VARCHAR NOT NULL,
    made_unix DOUBLE NOT NULL,
    replications BIGINT NOT NULL,
    stalled_share DOUBLE NOT NULL,      -- of these, given up for want of groups to learn from and left out
    step_s DOUBLE NOT NULL,
    step_low_s DOUBLE NOT NULL,         -- chance alone puts 95 % of runs with these costs between the two
    step_high_s DOUBLE NOT NULL,
    step_p5_s DOUBLE NOT NULL,          -- of single steps, without the first sync cycle
    step_p50_s DOUBLE NOT NULL,
    step_p95_s DOUBLE NOT NULL,
    mode_seconds DOUBLE[] NOT NULL,
    mode_weights DOUBLE[] NOT NULL,
    position_s DOUBLE[] NOT NULL,       -- of steps by their place in the sync cycle
    wait_s DOUBLE NOT NULL,             -- of a step, as the next five: their sum is step_s
    drain_s DOUBLE NOT NULL,
    learn_s DOUBLE NOT NULL,
    sync_s DOUBLE NOT NULL,
    checkpoint_s DOUBLE NOT NULL,
    other_s DOUBLE NOT NULL,
    prompts_per_s DOUBLE NOT NULL,
    speedup DOUBLE,                     -- prompts_per_s over that of its twin, by the same costs
    wall_s DOUBLE NOT NULL,
    age_mean DOUBLE NOT NULL,
    ages BIGINT[] NOT NULL,
    age_shares DOUBLE[] NOT NULL,       -- of trained groups, by age
    engine_idle_share DOUBLE NOT NULL,
    learner_idle_share DOUBLE NOT NULL,
    wasted_token_share DOUBLE,          -- NULL where costs say nothing of tokens
    dispatched_per_trained DOUBLE,      -- likewise
    latency_s DOUBLE NOT NULL,
    completion_tokens_per_prompt DOUBLE, -- likewise
    cost_source VARCHAR NOT NULL,       -- where the costs come from, in words
    cost_generate_s DOUBLE NOT NULL,    -- of a group that has the engine for itself
    cost_crowding DOUBLE NOT NULL,      -- by how much every other group slows it down, as a share of that
    cost_verify_s DOUBLE NOT NULL,
    cost_learn_s_per_prompt DOUBLE NOT NULL,
    cost_learn_s_per_token DOUBLE NOT NULL,
    cost_optimizer_s DOUBLE NOT NULL,
    cost_other_s DOUBLE NOT NULL,
    cost_sync_s DOUBLE NOT NULL,
    cost_checkpoint_s DOUBLE NOT NULL,
    cost_held_out_s DOUBLE NOT NULL,    -- of one evaluation on held-out problems, in a step's other_s
    cost_groups BIGINT NOT NULL         -- that generation was measured on
);

-- What was published of a run that was made elsewhere: never mixed with measurements.
CREATE TABLE published_runs (
    sweep VARCHAR NOT NULL,
    run_name VARCHAR NOT NULL,
    training_time_s DOUBLE,
    steps BIGINT,                       -- that the figures of step times are over
    step_mean_s DOUBLE,
    step_std_s DOUBLE,
    step_median_s DOUBLE,
    step_min_s DOUBLE,
    step_max_s DOUBLE,
    step_ranges JSON,                   -- [{min, max, steps, approximate}], as a publication words it
    step_values_s DOUBLE[],             -- every step, in order, where all were given
    notes VARCHAR,
    other JSON                          -- settings that the trainer has no key for
);

-- Accuracies that were published without lm-eval's file.
CREATE TABLE published_accuracy (
    sweep VARCHAR NOT NULL,
    run_name VARCHAR NOT NULL,
    task VARCHAR NOT NULL,
    num_fewshot BIGINT NOT NULL,
    filter VARCHAR NOT NULL,
    percent DOUBLE NOT NULL,            -- as published, rounded
    exact_percent DOUBLE NOT NULL,      -- unrounded where the number of questions is known
    questions BIGINT
);

-- What has been read of every file, and what could not be.
CREATE TABLE files (
    path VARCHAR NOT NULL,              -- relative to the runs directory
    kind VARCHAR NOT NULL,
    size BIGINT NOT NULL,
    mtime_ns BIGINT NOT NULL,
    ctime_ns BIGINT NOT NULL,
    byte_offset BIGINT NOT NULL,        -- whole lines up to here are in the tables
    head_sha256 VARCHAR,                -- of the first bytes before byte_offset
    tail_sha256 VARCHAR                 -- of the last bytes before byte_offset
);

CREATE TABLE quarantine (
    path VARCHAR NOT NULL,
    byte_offset BIGINT NOT NULL,
    reason VARCHAR NOT NULL,
    excerpt VARCHAR NOT NULL
);

-- One row: what the store was made by; see results.migration.
CREATE TABLE store_state (
    schema_version BIGINT NOT NULL,
    tables_sha256 VARCHAR NOT NULL,
    views_sha256 VARCHAR NOT NULL
);

-- Derived, by results.derived: statistics of single runs that SQL cannot do.

-- Runs whose rows have changed since.
CREATE TABLE stale_runs (
    sweep VARCHAR NOT NULL,
    run_name VARCHAR NOT NULL
);

-- Sums over all rows of a run: derive_totals.sql. View run_summary has them beside the run's settings.
CREATE TABLE run_totals (
    sweep VARCHAR NOT NULL,
    run_name VARCHAR NOT NULL,
    steps_done BIGINT,
    training_s DOUBLE,
    step_mean_s DOUBLE,
    step_median_s DOUBLE,
    step_std_s DOUBLE,
    step_min_s DOUBLE,
    step_max_s DOUBLE,
    prompts BIGINT,
    completions BIGINT,
    prompt_tokens BIGINT,
    completion_tokens BIGINT,
    wait_s DOUBLE,
    drain_s DOUBLE,
    learn_s DOUBLE,
    sync_s DOUBLE,
    checkpoint_s DOUBLE,
    other_s DOUBLE,
    off_policy_steps_mean DOUBLE,
    off_policy_steps_max BIGINT,
    truncated_fraction DOUBLE,
    reward_first_fifth DOUBLE,
    reward_last_fifth DOUBLE,
    groups_dispatched BIGINT,
    groups_trained BIGINT,
    groups_filtered BIGINT,
    groups_lost BIGINT,
    groups_settled BIGINT,              -- with a fate but `discarded`
    latency_s DOUBLE,                   -- mean from dispatch to the end of generation, of those that got there
    trained_token_share DOUBLE,
    engine_busy_s DOUBLE,               -- in which at least one request ran
    engine_idle_s DOUBLE                -- in which it worked on nothing or a sync held it up
);

-- results.statistics.modes, one row per run with steps.
CREATE TABLE step_modes (
    sweep VARCHAR NOT NULL,
    run_name VARCHAR NOT NULL,
    sync_interval_steps BIGINT NOT NULL,
    config_md5 VARCHAR NOT NULL,        -- of the run's configuration, which the sentence rests on
    steps BIGINT NOT NULL,              -- looked at: all but the first sync cycle
    modes BIGINT NOT NULL,
    mode_seconds DOUBLE[] NOT NULL,
    mode_weights DOUBLE[] NOT NULL,
    mode_std_s DOUBLE[] NOT NULL,
    mode_low_s DOUBLE[] NOT NULL,       -- range of the mode's steps without outliers
    mode_high_s DOUBLE[] NOT NULL,
    mode_steps BIGINT[] NOT NULL,       -- steps within that range
    outliers_s DOUBLE[] NOT NULL,       -- step times outside their mode's range
    unimodality_p DOUBLE,
    position_p DOUBLE,
    explained_by VARCHAR,               -- 'position', a column of steps, or NULL
    sentence VARCHAR NOT NULL
);

-- results.statistics.rates over view sync_cycles, one row per run and unit of work.
CREATE TABLE run_rates (
    sweep VARCHAR NOT NULL,
    run_name VARCHAR NOT NULL,
    unit VARCHAR NOT NULL,              -- 'steps', 'prompts' or 'completion_tokens'
    cycles BIGINT NOT NULL,
    log_rate DOUBLE,                    -- of work per second
    variance DOUBLE,                    -- of log_rate; NULL below eight cycles
    degrees_of_freedom DOUBLE
);

-- results.statistics.first_passage: how a run's reward rose, at the steps at which it was higher than before.
CREATE TABLE run_climbs (
    sweep VARCHAR NOT NULL,
    run_name VARCHAR NOT NULL,
    elapsed_s DOUBLE[] NOT NULL,
    best DOUBLE[] NOT NULL,             -- trailing mean reward then
    training_s DOUBLE NOT NULL,
    first_fifth DOUBLE,                 -- mean reward over a fifth of the steps
    last_fifth DOUBLE
);

-- results.statistics.age_trends, one row per metric of a run in which the age varies.
CREATE TABLE age_trends (
    sweep VARCHAR NOT NULL,
    run_name VARCHAR NOT NULL,
    place BIGINT NOT NULL,              -- of the metric among the others
    metric VARCHAR NOT NULL,
    blocks BIGINT NOT NULL,
    rank_correlation DOUBLE,
    p DOUBLE
);
