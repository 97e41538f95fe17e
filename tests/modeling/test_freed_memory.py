"""The C library is told to keep what training frees where it can be told."""

from __future__ import annotations

import platform

from preceptor.modeling.freed_memory import keep_freed_memory


def test_freed_memory_is_kept_where_the_library_can() -> None:
    assert keep_freed_memory() == (platform.libc_ver()[0] == "glibc")
