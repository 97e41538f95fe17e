"""A request in, this installation's settings, engine and cipher out."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import sqlalchemy as sa
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


def installation(request: Request) -> Installation:
    """The installation of this application (`app.state.preceptor`).

    A host application that mounts the router may set it with `install(settings, engine)`; otherwise it is made here
    from the environment, once.
    """
    state = request.app.state
    found = getattr(state, "preceptor", None)
    if found is None:
        with _building:
            found = getattr(state, "preceptor", None)
            if found is None:
                from preceptor.db.engine import connect

                settings = load_settings()
                found = state.preceptor = install(settings, connect(settings))
    if not isinstance(found, Installation):
        raise TypeError("app.state.preceptor must be made by preceptor.server.deps.install")
    return found
