-- The product's own tables, and additions to the seed document's two tables that keep plain SQL working.

ALTER TABLE rlhf_feedback ALTER COLUMN timestamp TYPE TIMESTAMP WITH TIME ZONE USING timestamp AT TIME ZONE 'UTC';
ALTER TABLE rlhf_preferences ALTER COLUMN timestamp TYPE TIMESTAMP WITH TIME ZONE USING timestamp AT TIME ZONE 'UTC';

-- a users table made by hand may have an id without a default
DO $$
BEGIN
    IF (SELECT column_default IS NULL AND is_identity = 'NO' FROM information_schema.columns
        WHERE table_schema = current_schema() AND table_name = 'users' AND column_name = 'id') THEN
        CREATE SEQUENCE IF NOT EXISTS users_id_seq OWNED BY users.id;
        PERFORM setval('users_id_seq', (SELECT COALESCE(MAX(id), 0) + 1 FROM users), false);
        ALTER TABLE users ALTER COLUMN id SET DEFAULT nextval('users_id_seq');
    END IF;
END $$;

CREATE TABLE alerts (
    id SERIAL NOT NULL,
    key VARCHAR NOT NULL,
    severity VARCHAR NOT NULL,
    message TEXT NOT NULL,
    raised_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    resolved_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX IF NOT EXISTS alerts_open_key_idx ON alerts (key) WHERE resolved_at IS NULL;
CREATE TABLE alias_events (
    id SERIAL NOT NULL,
    agent_name VARCHAR NOT NULL,
    alias VARCHAR NOT NULL,
    before VARCHAR,
    after VARCHAR,
    generation INTEGER NOT NULL,
    actor VARCHAR NOT NULL,
    reason TEXT NOT NULL,
    evidence VARCHAR,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    previous_hash CHAR(64) NOT NULL,
    hash CHAR(64) NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE artifacts (
    artifact_id VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    run_id VARCHAR,
    details JSONB DEFAULT '{}'::jsonb NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (artifact_id)
);
CREATE TABLE audit_log (
    id SERIAL NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    actor_id INTEGER,
    action VARCHAR NOT NULL,
    target VARCHAR NOT NULL,
    detail JSONB DEFAULT '{}'::jsonb NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE curated_records (
    id SERIAL NOT NULL,
    kind VARCHAR NOT NULL,
    source_id VARCHAR NOT NULL,
    source_revision INTEGER NOT NULL,
    source_hash CHAR(64) NOT NULL,
    scrubber_version VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    reason VARCHAR,
    prompt TEXT,
    response_a TEXT,
    response_b TEXT,
    correction TEXT,
    instrument VARCHAR NOT NULL,
    rating INTEGER,
    thumb SMALLINT,
    outcome VARCHAR,
    strength SMALLINT,
    harm_a SMALLINT,
    harm_b SMALLINT,
    rater VARCHAR,
    rater_specialty VARCHAR,
    agent_name VARCHAR,
    specialty VARCHAR,
    is_simulated BOOLEAN DEFAULT false NOT NULL,
    findings JSONB DEFAULT '{}'::jsonb NOT NULL,
    judged_at TIMESTAMP WITH TIME ZONE,
    curated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT curated_records_kind_source_id_key UNIQUE (kind, source_id)
);
CREATE INDEX IF NOT EXISTS curated_records_status_agent_idx ON curated_records (status, agent_name);
CREATE TABLE releases (
    id SERIAL NOT NULL,
    release_id VARCHAR NOT NULL,
    agent_name VARCHAR NOT NULL,
    version INTEGER NOT NULL,
    model VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    report_artifact_id VARCHAR,
    run_id VARCHAR,
    state VARCHAR NOT NULL,
    reason TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT releases_agent_name_version_key UNIQUE (agent_name, version),
    CONSTRAINT releases_agent_name_digest_key UNIQUE (agent_name, digest),
    UNIQUE (release_id)
);
CREATE TABLE revisions (
    id SERIAL NOT NULL,
    target VARCHAR NOT NULL,
    revision INTEGER NOT NULL,
    before JSONB NOT NULL,
    actor_id INTEGER,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE rounds (
    id SERIAL NOT NULL,
    round_id VARCHAR NOT NULL,
    agent_name VARCHAR,
    trigger_key VARCHAR NOT NULL,
    state VARCHAR DEFAULT 'queued' NOT NULL,
    stage VARCHAR,
    config JSONB DEFAULT '{}'::jsonb NOT NULL,
    outcome JSONB DEFAULT '{}'::jsonb NOT NULL,
    error TEXT,
    cancel_requested BOOLEAN DEFAULT false NOT NULL,
    high_water TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    ended_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id),
    UNIQUE (round_id),
    UNIQUE (trigger_key)
);
ALTER TABLE users ADD COLUMN IF NOT EXISTS login VARCHAR UNIQUE;
ALTER TABLE users ADD COLUMN IF NOT EXISTS display_name VARCHAR;
ALTER TABLE users ADD COLUMN IF NOT EXISTS role VARCHAR DEFAULT 'clinician' NOT NULL;
ALTER TABLE users ADD COLUMN IF NOT EXISTS password_hash VARCHAR;
ALTER TABLE users ADD COLUMN IF NOT EXISTS specialty VARCHAR;
ALTER TABLE users ADD COLUMN IF NOT EXISTS department VARCHAR;
ALTER TABLE users ADD COLUMN IF NOT EXISTS is_simulated BOOLEAN DEFAULT false NOT NULL;
ALTER TABLE users ADD COLUMN IF NOT EXISTS is_active BOOLEAN DEFAULT true NOT NULL;
ALTER TABLE users ADD COLUMN IF NOT EXISTS created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL;
CREATE TABLE aliases (
    agent_name VARCHAR NOT NULL,
    alias VARCHAR NOT NULL,
    release_id VARCHAR,
    generation INTEGER DEFAULT '0' NOT NULL,
    PRIMARY KEY (agent_name, alias),
    FOREIGN KEY(release_id) REFERENCES releases (release_id)
);
CREATE TABLE api_tokens (
    id SERIAL NOT NULL,
    user_id INTEGER NOT NULL,
    name VARCHAR NOT NULL,
    token_hash VARCHAR NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id),
    FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    UNIQUE (token_hash)
);
CREATE TABLE artifact_parents (
    artifact_id VARCHAR NOT NULL,
    parent_id VARCHAR NOT NULL,
    PRIMARY KEY (artifact_id, parent_id),
    FOREIGN KEY(artifact_id) REFERENCES artifacts (artifact_id) ON DELETE CASCADE
);
CREATE TABLE consents (
    id SERIAL NOT NULL,
    clinician_id INTEGER NOT NULL,
    scope VARCHAR NOT NULL,
    policy_version VARCHAR NOT NULL,
    granted BOOLEAN NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(clinician_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS consents_clinician_id_at_idx ON consents (clinician_id, at);
CREATE TABLE dataset_members (
    id SERIAL NOT NULL,
    artifact_id VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    source_id VARCHAR NOT NULL,
    source_revision INTEGER NOT NULL,
    split VARCHAR NOT NULL,
    weight FLOAT DEFAULT '1' NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(artifact_id) REFERENCES artifacts (artifact_id) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS dataset_members_artifact_idx ON dataset_members (artifact_id);
CREATE INDEX IF NOT EXISTS dataset_members_source_idx ON dataset_members (kind, source_id);
CREATE TABLE experiments (
    id SERIAL NOT NULL,
    experiment_id VARCHAR NOT NULL,
    agent_name VARCHAR NOT NULL,
    control_release_id VARCHAR NOT NULL,
    treatment_release_id VARCHAR NOT NULL,
    state VARCHAR DEFAULT 'running' NOT NULL,
    hash_seed VARCHAR NOT NULL,
    coverage FLOAT DEFAULT '1' NOT NULL,
    config JSONB DEFAULT '{}'::jsonb NOT NULL,
    decision JSONB DEFAULT '{}'::jsonb NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id),
    UNIQUE (experiment_id),
    FOREIGN KEY(control_release_id) REFERENCES releases (release_id),
    FOREIGN KEY(treatment_release_id) REFERENCES releases (release_id)
);
CREATE UNIQUE INDEX IF NOT EXISTS experiments_running_idx ON experiments (agent_name) WHERE state IN ('running', 'paused');
CREATE TABLE idempotency_keys (
    id SERIAL NOT NULL,
    user_id INTEGER NOT NULL,
    key VARCHAR NOT NULL,
    route VARCHAR NOT NULL,
    request_hash VARCHAR NOT NULL,
    status_code INTEGER NOT NULL,
    response JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT idempotency_keys_user_id_key_key UNIQUE (user_id, key),
    FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE TABLE interactions (
    id SERIAL NOT NULL,
    interaction_id VARCHAR NOT NULL,
    external_id VARCHAR,
    session_id VARCHAR NOT NULL,
    agent_name VARCHAR NOT NULL,
    prompt TEXT NOT NULL,
    response TEXT NOT NULL,
    content_hash CHAR(64) NOT NULL,
    prompt_hash CHAR(64) NOT NULL,
    model_name VARCHAR,
    model_digest VARCHAR,
    prompt_version VARCHAR,
    sampling JSONB,
    experiment_id VARCHAR,
    arm VARCHAR,
    specialty VARCHAR,
    finished BOOLEAN,
    source VARCHAR DEFAULT 'api' NOT NULL,
    known_identifiers JSONB,
    created_by INTEGER,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (interaction_id),
    UNIQUE (external_id),
    FOREIGN KEY(created_by) REFERENCES users (id)
);
CREATE INDEX IF NOT EXISTS interactions_session_agent_idx ON interactions (session_id, agent_name);
CREATE TABLE runs (
    id SERIAL NOT NULL,
    run_id VARCHAR NOT NULL,
    round_id VARCHAR,
    stage VARCHAR NOT NULL,
    state VARCHAR DEFAULT 'queued' NOT NULL,
    config JSONB NOT NULL,
    attempt INTEGER DEFAULT '0' NOT NULL,
    progress JSONB DEFAULT '{}'::jsonb NOT NULL,
    metrics JSONB DEFAULT '{}'::jsonb NOT NULL,
    summary TEXT,
    artifact_id VARCHAR,
    error TEXT,
    log_path VARCHAR,
    cancel_requested BOOLEAN DEFAULT false NOT NULL,
    heartbeat_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    ended_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id),
    UNIQUE (run_id),
    FOREIGN KEY(round_id) REFERENCES rounds (round_id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX IF NOT EXISTS runs_round_stage_idx ON runs (round_id, stage) WHERE round_id IS NOT NULL;
CREATE TABLE web_sessions (
    id SERIAL NOT NULL,
    user_id INTEGER NOT NULL,
    session_hash VARCHAR NOT NULL,
    csrf_token VARCHAR NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    UNIQUE (session_hash)
);
CREATE TABLE experiment_assignments (
    id SERIAL NOT NULL,
    experiment_id VARCHAR NOT NULL,
    unit VARCHAR NOT NULL,
    clinician_id INTEGER,
    arm VARCHAR NOT NULL,
    probability FLOAT NOT NULL,
    stratum VARCHAR,
    assigned_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT experiment_assignments_experiment_id_unit_key UNIQUE (experiment_id, unit),
    FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE
);
CREATE TABLE exposures (
    id SERIAL NOT NULL,
    exposure_id VARCHAR NOT NULL,
    experiment_id VARCHAR NOT NULL,
    unit VARCHAR NOT NULL,
    arm VARCHAR NOT NULL,
    interaction_id VARCHAR,
    model_digest VARCHAR,
    generation INTEGER,
    latency_ms INTEGER,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (exposure_id),
    FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS exposures_experiment_idx ON exposures (experiment_id, unit);
CREATE TABLE queue_items (
    id SERIAL NOT NULL,
    item_id VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    interaction_a VARCHAR NOT NULL,
    interaction_b VARCHAR,
    overlap INTEGER DEFAULT '2' NOT NULL,
    priority INTEGER DEFAULT '0' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT queue_items_content_key UNIQUE (kind, interaction_a, interaction_b),
    UNIQUE (item_id),
    FOREIGN KEY(interaction_a) REFERENCES interactions (interaction_id),
    FOREIGN KEY(interaction_b) REFERENCES interactions (interaction_id)
);
ALTER TABLE rlhf_feedback ADD COLUMN IF NOT EXISTS interaction_id VARCHAR REFERENCES interactions (interaction_id);
ALTER TABLE rlhf_feedback ADD COLUMN IF NOT EXISTS instrument VARCHAR;
ALTER TABLE rlhf_feedback ADD COLUMN IF NOT EXISTS thumb SMALLINT;
ALTER TABLE rlhf_feedback ADD COLUMN IF NOT EXISTS correction TEXT;
ALTER TABLE rlhf_feedback ADD COLUMN IF NOT EXISTS harm_severity SMALLINT;
ALTER TABLE rlhf_feedback ADD COLUMN IF NOT EXISTS reasons JSONB;
ALTER TABLE rlhf_feedback ADD COLUMN IF NOT EXISTS source VARCHAR DEFAULT 'seed' NOT NULL;
ALTER TABLE rlhf_feedback ADD COLUMN IF NOT EXISTS review_status VARCHAR DEFAULT 'new' NOT NULL;
ALTER TABLE rlhf_feedback ADD COLUMN IF NOT EXISTS content_hash CHAR(64);
ALTER TABLE rlhf_feedback ADD COLUMN IF NOT EXISTS prompt_hash CHAR(64);
ALTER TABLE rlhf_feedback ADD COLUMN IF NOT EXISTS experiment_id VARCHAR;
ALTER TABLE rlhf_feedback ADD COLUMN IF NOT EXISTS arm VARCHAR;
ALTER TABLE rlhf_feedback ADD COLUMN IF NOT EXISTS model_digest VARCHAR;
ALTER TABLE rlhf_feedback ADD COLUMN IF NOT EXISTS rater_specialty VARCHAR;
ALTER TABLE rlhf_feedback ADD COLUMN IF NOT EXISTS consent_scope VARCHAR;
ALTER TABLE rlhf_feedback ADD COLUMN IF NOT EXISTS active_ms INTEGER;
ALTER TABLE rlhf_feedback ADD COLUMN IF NOT EXISTS revision INTEGER DEFAULT '1' NOT NULL;
ALTER TABLE rlhf_feedback ADD COLUMN IF NOT EXISTS updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL;
ALTER TABLE rlhf_feedback ADD COLUMN IF NOT EXISTS withdrawn_at TIMESTAMP WITH TIME ZONE;
CREATE INDEX IF NOT EXISTS rlhf_feedback_agent_timestamp_idx ON rlhf_feedback (agent_name, timestamp);
CREATE INDEX IF NOT EXISTS rlhf_feedback_clinician_idx ON rlhf_feedback (clinician_id);
CREATE UNIQUE INDEX IF NOT EXISTS rlhf_feedback_live_idx ON rlhf_feedback (interaction_id, clinician_id, instrument) WHERE withdrawn_at IS NULL;
CREATE INDEX IF NOT EXISTS rlhf_feedback_session_idx ON rlhf_feedback (session_id);
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS session_id VARCHAR;
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS agent_name VARCHAR;
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS interaction_a VARCHAR REFERENCES interactions (interaction_id);
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS interaction_b VARCHAR REFERENCES interactions (interaction_id);
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS outcome VARCHAR;
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS strength SMALLINT;
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS presented_first CHAR(1);
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS blinded BOOLEAN;
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS harm_a SMALLINT;
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS harm_b SMALLINT;
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS reasons JSONB;
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS comments TEXT;
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS correction TEXT;
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS source VARCHAR DEFAULT 'seed' NOT NULL;
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS review_status VARCHAR DEFAULT 'new' NOT NULL;
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS content_hash CHAR(64);
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS prompt_hash CHAR(64);
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS experiment_id VARCHAR;
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS arm_a VARCHAR;
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS arm_b VARCHAR;
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS rater_specialty VARCHAR;
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS consent_scope VARCHAR;
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS active_ms INTEGER;
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS revision INTEGER DEFAULT '1' NOT NULL;
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL;
ALTER TABLE rlhf_preferences ADD COLUMN IF NOT EXISTS withdrawn_at TIMESTAMP WITH TIME ZONE;
CREATE INDEX IF NOT EXISTS rlhf_preferences_clinician_idx ON rlhf_preferences (clinician_id);
CREATE UNIQUE INDEX IF NOT EXISTS rlhf_preferences_live_idx ON rlhf_preferences (interaction_a, interaction_b, clinician_id) WHERE withdrawn_at IS NULL;
CREATE TABLE assignments (
    id SERIAL NOT NULL,
    assignment_id VARCHAR NOT NULL,
    item_id VARCHAR NOT NULL,
    clinician_id INTEGER NOT NULL,
    state VARCHAR DEFAULT 'leased' NOT NULL,
    presented_first CHAR(1),
    lease_until TIMESTAMP WITH TIME ZONE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    completed_at TIMESTAMP WITH TIME ZONE,
    result_ids JSONB,
    PRIMARY KEY (id),
    CONSTRAINT assignments_item_id_clinician_id_key UNIQUE (item_id, clinician_id),
    UNIQUE (assignment_id),
    FOREIGN KEY(item_id) REFERENCES queue_items (item_id) ON DELETE CASCADE,
    FOREIGN KEY(clinician_id) REFERENCES users (id) ON DELETE CASCADE
);

-- Each instrument keeps to its own columns: thumbs never become stars. NOT VALID spares rows that were there before.
ALTER TABLE rlhf_feedback
    ADD CONSTRAINT rlhf_feedback_type_check
        CHECK (feedback_type IS NULL OR feedback_type IN ('positive', 'negative', 'neutral')) NOT VALID,
    ADD CONSTRAINT rlhf_feedback_thumb_check CHECK (thumb IS NULL OR thumb IN (-1, 1)),
    ADD CONSTRAINT rlhf_feedback_harm_check CHECK (harm_severity IS NULL OR harm_severity BETWEEN 0 AND 3),
    ADD CONSTRAINT rlhf_feedback_instrument_check CHECK (
        instrument IS NULL
        OR (instrument = 'stars' AND rating IS NOT NULL AND thumb IS NULL)
        OR (instrument = 'thumbs' AND thumb IS NOT NULL AND rating IS NULL)
        OR (instrument = 'comment' AND rating IS NULL AND thumb IS NULL AND comments IS NOT NULL)
        OR (instrument = 'correction' AND rating IS NULL AND thumb IS NULL AND correction IS NOT NULL)
    );
ALTER TABLE rlhf_preferences
    ADD CONSTRAINT rlhf_preferences_outcome_check CHECK (
        outcome IS NULL
        OR (outcome IN ('a', 'b') AND preferred IS NOT NULL AND preferred = outcome)
        OR (outcome IN ('tie', 'both_bad', 'cannot_judge') AND preferred IS NULL)
    ),
    ADD CONSTRAINT rlhf_preferences_strength_check CHECK (strength IS NULL OR strength IN (1, 2)),
    ADD CONSTRAINT rlhf_preferences_first_check CHECK (presented_first IS NULL OR presented_first IN ('a', 'b')),
    ADD CONSTRAINT rlhf_preferences_harm_check
        CHECK (COALESCE(harm_a, 0) BETWEEN 0 AND 3 AND COALESCE(harm_b, 0) BETWEEN 0 AND 3);
ALTER TABLE users
    ADD CONSTRAINT users_role_check CHECK (
        role IN ('clinician', 'curator', 'phi_reviewer', 'ml_engineer', 'auditor', 'admin', 'service')
    ) NOT VALID;

-- The audit trail and the alias history are append only.
CREATE FUNCTION preceptor_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append only', TG_TABLE_NAME;
END $$;
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION preceptor_append_only();
CREATE TRIGGER alias_events_append_only BEFORE UPDATE OR DELETE ON alias_events
    FOR EACH ROW EXECUTE FUNCTION preceptor_append_only();

-- Every judgement without a word of text. Rows written by plain SQL get their instrument and hashes here.
CREATE VIEW judgements AS
SELECT 'feedback'::varchar AS kind, f.feedback_id AS source_id, f.session_id, f.agent_name, f.clinician_id,
       COALESCE(f.instrument, CASE WHEN f.rating IS NOT NULL THEN 'stars'
                                   WHEN f.feedback_type IN ('positive', 'negative') THEN 'thumbs'
                                   ELSE 'comment' END)::varchar AS instrument,
       f.rating,
       CASE WHEN f.instrument IS NULL AND f.rating IS NULL
            THEN CASE f.feedback_type WHEN 'positive' THEN 1 WHEN 'negative' THEN -1 END
            ELSE f.thumb END::smallint AS thumb,
       NULL::varchar AS outcome, NULL::smallint AS strength, f.harm_severity, NULL::char(1) AS presented_first,
       f.interaction_id, NULL::varchar AS interaction_b,
       COALESCE(f.content_hash, encode(sha256(convert_to(f.user_query || chr(31) || f.agent_response, 'UTF8')), 'hex'))
           ::varchar AS content_hash,
       COALESCE(f.prompt_hash, encode(sha256(convert_to(f.user_query, 'UTF8')), 'hex'))::varchar AS prompt_hash,
       f.experiment_id, f.arm, NULL::varchar AS arm_b, f.source, f.review_status, f.active_ms,
       f.timestamp AS created_at, f.withdrawn_at, COALESCE(u.is_simulated, false) AS is_simulated
FROM rlhf_feedback f LEFT JOIN users u ON u.id = f.clinician_id
UNION ALL
SELECT 'preference', p.preference_id, p.session_id, p.agent_name, p.clinician_id, 'comparison', NULL, NULL,
       COALESCE(p.outcome, p.preferred::varchar), p.strength, GREATEST(p.harm_a, p.harm_b), p.presented_first,
       p.interaction_a, p.interaction_b,
       COALESCE(p.content_hash, encode(sha256(convert_to(
           p.prompt || chr(31) || p.response_a || chr(31) || p.response_b, 'UTF8')), 'hex'))::varchar,
       COALESCE(p.prompt_hash, encode(sha256(convert_to(p.prompt, 'UTF8')), 'hex'))::varchar,
       p.experiment_id, p.arm_a, p.arm_b, p.source, p.review_status, p.active_ms,
       p.timestamp, p.withdrawn_at, COALESCE(u.is_simulated, false)
FROM rlhf_preferences p LEFT JOIN users u ON u.id = p.clinician_id;
