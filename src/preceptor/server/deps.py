"""A request in, this installation's settings, engine and cipher out."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import sqlalchemy as sa
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import State
from starlette.requests import Request

from preceptor.db.encrypted import TextCipher, make_cipher
from preceptor.settings import Settings, load_settings

_building = threading.Lock()


@dataclass(frozen=True)
class Installation:
    """What every handler needs."""

    settings: Settings
    engine: sa.Engine
    cipher: TextCipher
    secret: bytes


def install(settings: Settings, engine: sa.Engine) -> Installation:
    return Installation(settings=settings, engine=engine, cipher=make_cipher(settings), secret=settings.secret())


async def installation(request: Request) -> Installation:
    """The installation of this application (`app.state.preceptor`).

    A host application that mounts the router may set it with `install(settings, engine)`; otherwise it is made here
    from the environment, once. Like every dependency that does not wait, it is a coroutine: a plain function would
    take a turn in the thread pool on each request.
    """
    found = getattr(request.app.state, "preceptor", None)
    if found is None:
        found = await run_in_threadpool(_install_once, request.app.state)
    if not isinstance(found, Installation):
        raise TypeError("app.state.preceptor must be made by preceptor.server.deps.install")
    return found


def _install_once(state: State) -> Installation:
    from preceptor.db.engine import connect

    with _building:
        found: Installation | None = getattr(state, "preceptor", None)
        if found is None:
            settings = load_settings()
            found = state.preceptor = install(settings, connect(settings))
    return found
