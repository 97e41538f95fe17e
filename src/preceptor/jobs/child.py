"""A run id and its attempt in, one executed stage out: the process that a worker starts for each run.

Started as `python -m preceptor.jobs.child --run-id R --attempt N`; settings come from the environment.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence

from preceptor.errors import PreceptorError
from preceptor.runs import execute_run
from preceptor.settings import load_settings
from preceptor.supervision import StopSignals

EXIT_CODES = {"succeeded": 0, "failed": 1, "refused": 3, "canceled": 4, "queued": 75, "superseded": 76}


def main(arguments: Sequence[str] | None = None) -> int:
    """Execute the run and return an exit code; the run's row, not the code, is what counts."""
    parent = os.getppid()
    parser = argparse.ArgumentParser(prog="preceptor.jobs.child", description=__doc__)
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--attempt", required=True, type=int)
    parser.add_argument("--parent", type=int, default=parent, help="process id of the worker")
    parser.add_argument("--package", default="preceptor", help="package that holds the stages")
    options = parser.parse_args(arguments)
    signals = StopSignals()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: signals.stopped.set())
    try:
        settings = load_settings()
        logging.basicConfig(
            level=settings.log_level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        outcome = execute_run(
            settings,
            options.run_id,
            options.attempt,
            package=options.package,
            signals=signals,
            parent=options.parent,
        )
    except PreceptorError as error:
        print(error.message, file=sys.stderr)
        return 1
    return EXIT_CODES[outcome.state]


if __name__ == "__main__":
    sys.exit(main())
