"""Queued rounds in, driven rounds out: the process behind `preceptor worker`; run as many as you like, on any host.

SIGTERM and Ctrl-C stop it politely: the stage under way is told to stop at its next safe point, and its round goes
back to the queue. After SIGKILL the other workers, or the next one, pick the round up once the heartbeat is old.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Callable

import sqlalchemy as sa

from preceptor.db.engine import connect
from preceptor.jobs.app import make_app
from preceptor.jobs.processes import Timing
from preceptor.jobs.queue import QUEUE, reap
from preceptor.jobs.rounds import drive_round
from preceptor.jobs.schedule import tick
from preceptor.jobs.sweep import sweep
from preceptor.runs import describe_unexpected
from preceptor.settings import Settings

logger = logging.getLogger(__name__)

_RESTART_AFTER = 2.0  # seconds to wait when the database went away


def run_worker(
    settings: Settings,
    *,
    until: Callable[[], bool] | None = None,
    timing: Timing | None = None,
    package: str = "preceptor",
) -> None:
    """Work until a signal comes, or until `until()` is true.

    Raises:
        ConfigError: the database cannot be reached at the start; later outages are waited out.
    """
    timing = timing or Timing()
    engine = connect(settings)
    stop = threading.Event()
    try:
        asyncio.run(_work(settings, engine, stop=stop, until=until, timing=timing, package=package))
    finally:
        stop.set()
        engine.dispose()


async def _work(
    settings: Settings,
    engine: sa.Engine,
    *,
    stop: threading.Event,
    until: Callable[[], bool] | None,
    timing: Timing,
    package: str,
) -> None:
    if threading.current_thread() is threading.main_thread():
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)

    def run_round(round_id: str) -> None:
        drive_round(settings, engine, round_id, stop=stop, timing=timing, package=package)

    keepers = [
        _repeat(lambda: reap(engine, stalled=timing.stalled), timing.heartbeat, stop),
        _repeat(
            lambda: tick(settings, engine, stop=stop, timing=timing, package=package),
            timing.tick,
            stop,
            first=timing.tick,
        ),
        _repeat(lambda: sweep(settings, engine), timing.sweep, stop, first=timing.tick),
    ]
    logger.info("worker ready")
    while not stop.is_set():
        worker = asyncio.create_task(_serve_queue(engine.url, run_round, timing))
        asked = False
        while not worker.done():
            if until is not None and not stop.is_set() and await asyncio.to_thread(until):
                stop.set()
            if stop.is_set() and not asked:  # a second cancellation would not be polite
                asked = worker.cancel()
            await asyncio.wait([worker], timeout=timing.poll)
        if not stop.is_set():
            failure = None if worker.cancelled() else worker.exception()
            reason = type(failure).__name__ if failure else "closed"
            logger.warning("the queue was lost (%s); connecting again", reason)
            await asyncio.sleep(_RESTART_AFTER)
    for keeper in keepers:
        await asyncio.to_thread(keeper.join)


async def _serve_queue(url: sa.URL, run_round: Callable[[str], None], timing: Timing) -> None:
    app = make_app(url, run_round)
    with contextlib.suppress(asyncio.CancelledError):
        async with app.open_async():
            await app.run_worker_async(
                queues=[QUEUE],
                concurrency=1,
                install_signal_handlers=False,
                fetch_job_polling_interval=1.0,
                update_heartbeat_interval=timing.heartbeat,
                stalled_worker_timeout=timing.stalled,
            )


def _repeat(
    work: Callable[[], object], seconds: float, stop: threading.Event, *, first: float = 0.0
) -> threading.Thread:
    """Do `work` every so many seconds in a thread of its own; a failure is logged and tried again."""

    def loop() -> None:
        stop.wait(first)
        while not stop.is_set():
            try:
                work()
            except sa.exc.OperationalError:
                logger.warning("the database does not answer; looking again in %.0f s", seconds)
            except Exception as error:
                logger.error("housekeeping failed, trying again in %.0f s: %s", seconds, describe_unexpected(error))
            stop.wait(seconds)

    thread = threading.Thread(target=loop, name="housekeeping", daemon=True)
    thread.start()
    return thread
