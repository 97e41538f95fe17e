"""A database address in, the Procrastinate application with its one task out."""

from __future__ import annotations

from collections.abc import Callable

import procrastinate
import sqlalchemy as sa
from procrastinate import RetryStrategy

from preceptor.errors import PreceptorError
from preceptor.jobs.queue import QUEUE, RUN_ROUND


class RoundInterrupted(PreceptorError):
    """The worker stops before the round has ended: the job goes back to the queue."""


def make_app(url: sa.URL, run_round: Callable[[str], None]) -> procrastinate.App:
    """The queue on the database at `url`; each job calls `run_round(round_id)` in a thread.

    A round that is interrupted, or that loses the database, is tried again; anything else is the round's own result
    and is kept in its row.
    """
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=address, min_size=1, max_size=5))
    again = RetryStrategy(wait=1, retry_exceptions=(RoundInterrupted, sa.exc.OperationalError))

    @app.task(name=RUN_ROUND, queue=QUEUE, retry=again)
    def task(round_id: str) -> None:
        run_round(round_id)

    return app
