"""Our tables, the additions to the seed document's tables, and the text-free view of all judgements."""

from __future__ import annotations

from pathlib import Path

from preceptor.db.migrations.statements import execute_script

revision = "0002"
down_revision = "0001"

SQL = Path(__file__).parents[1] / "sql" / "0002_product.sql"


def upgrade() -> None:
    execute_script(SQL.read_text())


def downgrade() -> None:
    raise NotImplementedError("judgements are never dropped by a migration")
