"""Nothing in; the C library keeps freed memory for the next optimizer step instead of handing it to the system."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # names of mallopt(3)


def keep_freed_memory() -> bool:
    """Reuse what training frees; whether this C library (glibc) can be told so.

    Gradients and activations are freed and allocated anew each step. By default every large one goes back to the
    system and comes again page by page, which cost a sixth of the time of a step on a CPU.
    """
    try:
        library = ctypes.CDLL(None)
        return bool(library.mallopt(_TRIM_THRESHOLD, 2**31 - 1) and library.mallopt(_MMAP_MAX, 0))
    except (OSError, AttributeError, TypeError):
        return False
