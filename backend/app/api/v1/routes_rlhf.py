"""The feedback router for a host application: `app.include_router(router, prefix="/api/v1/rlhf")`.

It answers POST /feedback and POST /preference, and everything beside them. The database and the secrets come from the
environment (`DATABASE_URL`, `PRECEPTOR_*`) on the first request; a host that has an engine of its own sets
`app.state.preceptor = install(settings, engine)` first. A host that knows its users already gives them to the router by
`app.dependency_overrides[current_principal]`.
"""

from __future__ import annotations

import sys
from pathlib import Path

try:
    import preceptor  # noqa: F401  (installed, or on the path already)
except ModuleNotFoundError:  # a source checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "src"))

from preceptor.server.api import router
from preceptor.server.auth import Principal, current_principal
from preceptor.server.deps import install

__all__ = ["Principal", "current_principal", "install", "router"]
