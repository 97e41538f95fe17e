"""Settings in, a running web server out, until it is told to stop."""

from __future__ import annotations

import logging
import signal
import sys
import threading

from preceptor.db.engine import connect
from preceptor.settings import Settings


def serve(settings: Settings) -> None:
    """Migrate the database and answer requests; open requests are finished before it stops.

    Raises:
        ConfigError: the database is not usable.
    """
    import uvicorn

    from preceptor.server.app import create_app

    if threading.current_thread() is threading.main_thread():
        # uvicorn finishes open requests, then raises the signal again: leave by the door, so that the embedded
        # database is let go
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logging.getLogger("preceptor").setLevel(settings.log_level)
    engine = connect(settings)
    try:
        uvicorn.run(
            create_app(settings, engine),
            host=settings.host,
            port=settings.port,
            access_log=False,  # its lines would hold addresses with their query strings
            server_header=False,
            log_level=settings.log_level.lower(),
            timeout_graceful_shutdown=15,
            limit_concurrency=500,
        )
    finally:
        engine.dispose()
