"""A command that runs in, its exit code out: every expected error ends as one sentence on standard error."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable

from preceptor.errors import GateRefused, PreceptorError, RunCanceled

AGAIN = "stopped; run the same command again to go on."
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def exit_code(action: Callable[[], object], *, name: str, stopped: str = AGAIN) -> int:
    """Call `action`. Returns 0, 1 for an error told in one sentence, 3 for a refused gate, 130 when it was stopped.

    `name` opens each sentence; `stopped` is what a person reads who pressed Ctrl-C. An error that nobody foresaw is
    raised, with its traceback.
    """
    try:
        action()
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return _told(name, stopped, 130)
    except RunCanceled as error:
        return _told(name, error.message, 130)
    except GateRefused as error:
        return _told(name, error.message, 3)
    except PreceptorError as error:
        return _told(name, error.message, 1)
    except Exception as error:
        reason = _of_the_machine(error)
        if reason is None:
            raise
        return _told(name, reason, 1)
    return 0


def _told(name: str, sentence: str, code: int) -> int:
    print(f"{name}: {sentence}", file=sys.stderr)
    return code


def _of_the_machine(error: Exception) -> str | None:
    """What the disk, a file or the database refused; None for an error of the program itself."""
    if isinstance(error, OSError):
        if error.errno in _FULL:
            return "the disk is full. Free some space and run the same command again."
        if error.filename is None or error.strerror is None:
            return None
        return (
            f"{error.filename}: {error.strerror}. Correct that, or name another place, and run the same command again."
        )
    state = getattr(getattr(error, "orig", None), "sqlstate", None)  # an error of the database, by SQLAlchemy
    if state == "53100":
        return "the disk is full. Free some space and run the same command again."
    if type(error).__name__ == "OperationalError" and state in {None, "57P01", "57P02", "57P03"}:
        return "the database stopped answering. Check that it runs, and run the same command again."
    return None
