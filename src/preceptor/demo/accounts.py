"""An empty installation in, the panel's accounts with consent and tokens out; a second call only renews tokens."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import sqlalchemy as sa

from preceptor.collect.consent import consent_scope, grant_consent
from preceptor.db.engine import session_scope
from preceptor.demo.clinicians import PANEL
from preceptor.server import accounts

ADMIN = "demo"
SERVICE = "demo.service"
_TOKEN_DAYS = 30


@dataclass(frozen=True)
class People:
    """Bearer tokens by login, clinician numbers by login, and the password of the account for looking around."""

    tokens: dict[str, str]
    ids: dict[str, int]
    password: str


def open_accounts(engine: sa.Engine) -> People:
    """Make sure that the panel, a service account and an admin exist, consent is given, and tokens are at hand."""
    password = "-".join(secrets.token_hex(3) for _ in range(3))
    tokens: dict[str, str] = {}
    ids: dict[str, int] = {}
    with session_scope(engine) as session:
        known = {user.login: user for user in accounts.list_users(session) if user.login}
        wanted: dict[str, tuple[str, str, str | None]] = {
            SERVICE: ("service", "Demo service", None),
            ADMIN: ("admin", "Demo admin", None),
        }
        wanted |= {one.login: ("clinician", one.display_name, one.specialty) for one in PANEL}
        for login, (role, name, specialty) in wanted.items():
            user = known.get(login)
            if user is None:
                user = accounts.create_user(
                    session,
                    login,
                    role=role,
                    display_name=name,
                    specialty=specialty,
                    is_simulated=role == "clinician",
                )
            ids[login] = user.id
            _, tokens[login] = accounts.issue_token(session, user.id, name="demo", days=_TOKEN_DAYS)
            if role == "clinician" and consent_scope(session, user.id) is None:
                grant_consent(session, user.id, scope="internal_training")
        accounts.set_password(session, ADMIN, password=password)
    return People(tokens, ids, password)
