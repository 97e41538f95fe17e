"""`preceptor serve | worker`: the two processes of an installation, until they are told to stop."""

from __future__ import annotations

import logging

from preceptor.commands.parsing import call
from preceptor.settings import load_settings


def _logging() -> None:
    logging.basicConfig(
        level=load_settings().log_level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", force=True
    )
    for noisy in ("httpx", "httpcore", "procrastinate", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _serve(host: str | None = None, port: int | None = None) -> None:
    """Serve the API, the pages, the metrics and the gateway.

    Args:
        host: Address to listen on; PRECEPTOR_HOST by default.
        port: Port to listen on; PRECEPTOR_PORT by default.
    """
    from preceptor.server.serve import serve as run

    _logging()
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = load_settings(**given)
    print(f"preceptor serves http://{settings.host}:{settings.port}", flush=True)
    run(settings)


def _worker() -> None:
    """Run queued rounds, each stage in a child process; start as many workers as you like."""
    from preceptor.jobs.worker import run_worker

    _logging()
    run_worker(load_settings())


def serve(words: list[str]) -> None:
    call(_serve, words, prog="serve")


def worker(words: list[str]) -> None:
    call(_worker, words, prog="worker")
