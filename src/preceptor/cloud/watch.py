"""A running job in, its end out; a backend that throttles is asked again more slowly."""

from __future__ import annotations

import time
from collections.abc import Callable

from preceptor.cloud.runner import BackendBusy, JobStatus, Runner
from preceptor.errors import RunCanceled

_PATIENCE = 12  # failed looks in a row before giving up: about three quarters of an hour at 20 seconds
_LONGEST = 300.0  # seconds between two looks at a backend that does not answer


def watch(
    runner: Runner,
    name: str,
    *,
    every: float,
    report: Callable[[JobStatus], None],
    hint: str,
    sleep: Callable[[float], None] = time.sleep,
) -> JobStatus:
    """Look at a job every `every` seconds until it has ended.

    Raises:
        RunCanceled: Ctrl-C; the job goes on, and the message ends with `hint`, which says how to go on or stop it.
        BackendBusy: the backend did not answer many times in a row; the job goes on.
    """
    failed = 0
    try:
        while True:
            try:
                status = runner.status(name)
                failed = 0
            except BackendBusy as error:
                failed += 1
                if failed >= _PATIENCE:
                    raise BackendBusy(f"{error.message} The job {name} goes on. {hint}") from None
                sleep(min(every * 2**failed, _LONGEST))
                continue
            report(status)
            if status.has_ended:
                return status
            sleep(every)
    except KeyboardInterrupt:
        raise RunCanceled(f"No longer watching; the job {name} goes on. {hint}") from None
