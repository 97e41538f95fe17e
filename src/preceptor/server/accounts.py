"""Logins, passwords and tokens in; accounts, sessions and token secrets out. Only hashes of secrets are stored."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.db import audit
from preceptor.db.tables.ops import ApiToken, AuditEvent, User, WebSession
from preceptor.errors import ConflictError, InputError, NotFoundError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

ROLES = ("clinician", "curator", "phi_reviewer", "ml_engineer", "auditor", "admin", "service")
MINIMUM_PASSWORD_LENGTH = 12
SESSION_LENGTH = timedelta(hours=12)
FAILURE_WINDOW = timedelta(minutes=5)
FAILURES_ALLOWED = 10
# One argon2 check holds 64 MiB: unbounded sign-ins would be a way to exhaust memory.
_hashing = threading.BoundedSemaphore(2)
_HASHING_WAIT_SECONDS = 5.0


class TooBusyError(Exception):
    """Too many password checks at once, or too many failures for one account."""


@cache
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher()


@cache
def _decoy_hash() -> str:
    return _hasher().hash(secrets.token_urlsafe(16))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _key(login: str) -> str:
    """The form in which logins are stored and compared."""
    return login.replace("\x00", "\ufffd").strip().lower()[:200]


def _verify(password_hash: str, password: str) -> bool:
    from argon2.exceptions import Argon2Error, InvalidHashError

    if not _hashing.acquire(timeout=_HASHING_WAIT_SECONDS):
        raise TooBusyError
    try:
        return _hasher().verify(password_hash, password)
    except (Argon2Error, InvalidHashError):
        return False
    finally:
        _hashing.release()


def _hash_password(password: str) -> str:
    if len(password) < MINIMUM_PASSWORD_LENGTH or len(password) > 1024:
        raise InputError(f"The password is too short. Choose one of at least {MINIMUM_PASSWORD_LENGTH} characters.")
    with _hashing:
        return _hasher().hash(password)


def create_user(
    session: Session,
    login: str,
    *,
    role: str = "clinician",
    password: str | None = None,
    display_name: str | None = None,
    specialty: str | None = None,
    department: str | None = None,
    is_simulated: bool = False,
) -> User:
    """Add an account. Without a password it can only be used through tokens.

    Raises:
        InputError: the role is unknown, the login is empty, or the password is too short.
        ConflictError: the login is taken.
    """
    login = _key(login)
    if not login or len(login) > 120 or not login.isprintable():
        raise InputError("The login is empty, longer than 120 characters or not printable. Choose another.")
    if role not in ROLES:
        raise InputError(f"The role '{role}' is not known. Use one of: {', '.join(ROLES)}.")
    if session.scalar(sa.select(User.id).where(User.login == login)) is not None:
        raise ConflictError(f"There is already an account '{login}'. Choose another login.")
    user = User(
        login=login,
        role=role,
        display_name=display_name,
        specialty=specialty,
        department=department,
        is_simulated=is_simulated,
        password_hash=_hash_password(password) if password is not None else None,
    )
    session.add(user)
    session.flush()
    audit.record(session, actor_id=None, action="user.create", target=f"user:{user.id}", role=role)
    return user


def find_user(session: Session, login: str) -> User:
    """The account with this login, or NotFoundError."""
    user = session.scalar(sa.select(User).where(User.login == _key(login)))
    if user is None:
        raise NotFoundError(f"There is no account '{login}'. `preceptor user list` shows the accounts.")
    return user


def set_password(session: Session, login: str, *, password: str) -> None:
    """Replace a password; every open session of the account ends."""
    user = find_user(session, login)
    user.password_hash = _hash_password(password)
    session.execute(sa.delete(WebSession).where(WebSession.user_id == user.id))
    audit.record(session, actor_id=None, action="user.password", target=f"user:{user.id}")


def list_users(session: Session) -> Sequence[User]:
    return session.scalars(sa.select(User).order_by(User.id)).all()


def issue_token(session: Session, user_id: int, *, name: str, days: int | None = None) -> tuple[ApiToken, str]:
    """Make a bearer token. Returns its row and the secret, which is shown this once and cannot be read again."""
    secret = f"pct_{secrets.token_urlsafe(32)}"
    expires_at = datetime.now(UTC) + timedelta(days=days) if days is not None else None
    token = ApiToken(user_id=user_id, name=name, token_hash=_digest(secret), expires_at=expires_at)
    session.add(token)
    session.flush()
    audit.record(session, actor_id=user_id, action="token.issue", target=f"token:{token.id}")
    return token, secret


def live_tokens(session: Session, user_id: int) -> Sequence[ApiToken]:
    """The tokens of an account that still work."""
    return session.scalars(
        sa.select(ApiToken)
        .where(
            ApiToken.user_id == user_id,
            ApiToken.revoked_at.is_(None),
            sa.or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > sa.func.now()),
        )
        .order_by(ApiToken.id)
    ).all()


def revoke_token(session: Session, user_id: int, *, token_id: int) -> None:
    """Make one of an account's tokens useless; repeating it changes nothing.

    Raises:
        NotFoundError: the account has no such token.
    """
    token = session.scalar(sa.select(ApiToken).where(ApiToken.id == token_id, ApiToken.user_id == user_id))
    if token is None:
        raise NotFoundError("There is no token with this id for this account.")
    if token.revoked_at is None:
        token.revoked_at = datetime.now(UTC)
        audit.record(session, actor_id=user_id, action="token.revoke", target=f"token:{token_id}")


def user_of_token(session: Session, secret: str) -> User | None:
    """The active owner of a live token."""
    return session.scalar(
        sa.select(User)
        .join(ApiToken, ApiToken.user_id == User.id)
        .where(
            ApiToken.token_hash == _digest(secret),
            ApiToken.revoked_at.is_(None),
            sa.or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > sa.func.now()),
            User.is_active,
        )
    )


def authenticate(session: Session, login: str, *, password: str) -> User | None:
    """Check a password. The same work is done for an unknown login, so timing does not tell them apart.

    Raises:
        TooBusyError: too many checks are running, or this account failed too often in the last minutes.
    """
    user = session.scalar(sa.select(User).where(User.login == _key(login), User.is_active))
    if user is not None and _recent_failures(session, user.id) >= FAILURES_ALLOWED:
        raise TooBusyError
    known = user.password_hash if user is not None else None
    correct = _verify(known or _decoy_hash(), password[:1024]) and known is not None
    target = f"user:{user.id}" if user is not None else "user:unknown"
    actor = user.id if user is not None and correct else None
    audit.record(session, actor_id=actor, action="sign_in" if correct else "sign_in.failed", target=target)
    return user if correct else None


def _recent_failures(session: Session, user_id: int) -> int:
    return (
        session.scalar(
            sa.select(sa.func.count()).where(
                AuditEvent.action == "sign_in.failed",
                AuditEvent.target == f"user:{user_id}",
                AuditEvent.at > sa.func.now() - FAILURE_WINDOW,
            )
        )
        or 0
    )


def open_session(session: Session, user: User) -> tuple[str, str]:
    """Start a browser session. Returns the cookie's value and the form token."""
    cookie, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    session.execute(sa.delete(WebSession).where(WebSession.expires_at < sa.func.now()))
    session.add(
        WebSession(
            user_id=user.id,
            session_hash=_digest(cookie),
            csrf_token=csrf,
            expires_at=datetime.now(UTC) + SESSION_LENGTH,
        )
    )
    session.flush()
    return cookie, csrf


def find_session(session: Session, cookie: str) -> tuple[User, str] | None:
    """The user and form token of a live browser session."""
    row = session.execute(
        sa.select(User, WebSession.csrf_token)
        .join(WebSession, WebSession.user_id == User.id)
        .where(WebSession.session_hash == _digest(cookie), WebSession.expires_at > sa.func.now(), User.is_active)
    ).first()
    return (row[0], row[1]) if row is not None else None


def close_session(session: Session, cookie: str) -> None:
    found = find_session(session, cookie)
    if found is not None:
        session.execute(sa.delete(WebSession).where(WebSession.session_hash == _digest(cookie)))
        audit.record(session, actor_id=found[0].id, action="sign_out", target=f"user:{found[0].id}")
