"""The seed document's schema, exactly; tables that an installation already made by hand are kept."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

FEEDBACK = """
CREATE TABLE IF NOT EXISTS rlhf_feedback (
    id SERIAL PRIMARY KEY,
    feedback_id VARCHAR UNIQUE NOT NULL,
    session_id VARCHAR NOT NULL,
    agent_name VARCHAR NOT NULL,
    user_query TEXT NOT NULL,
    agent_response TEXT NOT NULL,
    rating INTEGER CHECK (rating >= 1 AND rating <= 5),
    feedback_type VARCHAR,
    clinician_id INTEGER REFERENCES users(id),
    comments TEXT,
    timestamp TIMESTAMP DEFAULT NOW(),
    processed BOOLEAN DEFAULT FALSE
)
"""
PREFERENCES = """
CREATE TABLE IF NOT EXISTS rlhf_preferences (
    id SERIAL PRIMARY KEY,
    preference_id VARCHAR UNIQUE NOT NULL,
    prompt TEXT NOT NULL,
    response_a TEXT NOT NULL,
    response_b TEXT NOT NULL,
    preferred CHAR(1) CHECK (preferred IN ('a', 'b')),
    clinician_id INTEGER REFERENCES users(id),
    timestamp TIMESTAMP DEFAULT NOW(),
    processed BOOLEAN DEFAULT FALSE
)
"""


def upgrade() -> None:
    op.execute("CREATE TABLE IF NOT EXISTS users (id SERIAL PRIMARY KEY)")
    op.execute(FEEDBACK)
    op.execute(PREFERENCES)


def downgrade() -> None:
    raise NotImplementedError("judgements are never dropped by a migration")
