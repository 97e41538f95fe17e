"""The job queue's own schema, as Procrastinate ships it."""

from __future__ import annotations

from alembic import op

from preceptor.db.migrations.statements import execute_script

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    from procrastinate.schema import SchemaManager

    present = op.get_bind().exec_driver_sql("SELECT to_regclass('procrastinate_jobs')").scalar()
    if present is None:
        execute_script(SchemaManager.get_schema())


def downgrade() -> None:
    raise NotImplementedError("queued work is never dropped by a migration")
