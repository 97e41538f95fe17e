"""Alembic's entry: runs the migrations on the connection handed over by `db.engine.migrate`."""

from __future__ import annotations

from alembic import context

from preceptor.db.engine import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    transaction_per_migration=False,
)
context.run_migrations()
