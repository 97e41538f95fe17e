"""`preceptor db`: bring the schema up to date, say what is there, change the key, print the address."""

from __future__ import annotations

import sqlalchemy as sa

from preceptor.commands.parsing import choose
from preceptor.db.engine import VERSION_TABLE, connect, make_engine
from preceptor.settings import load_settings

_COUNTED = ("users", "interactions", "rlhf_feedback", "rlhf_preferences", "curated_records", "rounds", "releases")


def upgrade() -> None:
    """Bring the database to the newest schema."""
    connect(load_settings()).dispose()
    print("The database is up to date.")


def status() -> None:
    """Show the server, the schema version and how many rows the main tables hold."""
    engine = connect(load_settings())
    with engine.connect() as connection:
        print(connection.exec_driver_sql("SELECT split_part(version(), ' on ', 1)").scalar_one())
        print("schema", connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar_one())  # noqa: S608
        for table in _COUNTED:
            count = connection.execute(sa.select(sa.func.count()).select_from(sa.table(table))).scalar_one()
            print(f"{table:<18}{count:>10}")
    engine.dispose()


def url() -> None:
    """Print the database's address (without a password), for psql or another client."""
    engine = make_engine(load_settings())
    print(engine.url.render_as_string(hide_password=True).replace("postgresql+psycopg", "postgresql"))
    engine.dispose()


def rewrap() -> None:
    """Put texts that older keys sealed under the first key of PRECEPTOR_ENCRYPTION_KEY; run it again to go on."""
    from preceptor.collect.rewrap import rewrap_rows
    from preceptor.db.encrypted import make_cipher

    settings = load_settings()
    engine = connect(settings)
    counts = rewrap_rows(engine, make_cipher(settings))
    engine.dispose()
    listed = ", ".join(f"{count} {table}" for table, count in counts.items())
    print(f"{sum(counts.values())} rows were put under the first key: {listed}.")


def main(words: list[str]) -> None:
    choose(
        {
            "upgrade": (upgrade, "bring the schema up to date"),
            "status": (status, "server, schema version and row counts"),
            "rewrap": (rewrap, "put texts that older keys sealed under the first key"),
            "url": (url, "the address, for psql"),
        },
        words,
        prog="db",
    )
