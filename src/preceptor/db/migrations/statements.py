"""A script of SQL statements in, executed as written: no parameter syntax applies to it."""

from __future__ import annotations

from alembic import op


def execute_script(script: str) -> None:
    """Run several statements on the migration's own connection and transaction."""
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.cursor().execute(script)
