"""`preceptor user`: create accounts, set passwords, issue tokens, list who is there."""

from __future__ import annotations

import getpass
import sys
from typing import Annotated

from tyro.conf import Positional, arg

from preceptor.commands.parsing import choose
from preceptor.db.engine import connect, session_scope
from preceptor.server import accounts
from preceptor.settings import load_settings


def _ask_password(given: str | None) -> str:
    """The password from the prompt, or from standard input with `-`, so that it is in no process list."""
    if given == "-":
        return sys.stdin.readline().rstrip("\n")
    return getpass.getpass("Password: ")


def create(
    login: Positional[str],
    /,
    role: Annotated[str, arg(help=f"One of {', '.join(accounts.ROLES)}.")] = "clinician",
    name: Annotated[str | None, arg(help="Shown beside the sign-out button.")] = None,
    specialty: str | None = None,
    department: str | None = None,
    password: Annotated[str | None, arg(help="'-' reads it from standard input; it is asked for otherwise.")] = None,
    token_only: Annotated[bool, arg(help="No password: the account is used through tokens.")] = False,
) -> None:
    """Create an account."""
    secret = None if token_only else _ask_password(password)
    engine = connect(load_settings())
    with session_scope(engine) as session:
        user = accounts.create_user(
            session,
            login,
            role=role,
            password=secret,
            display_name=name,
            specialty=specialty,
            department=department,
        )
        print(f"Created {user.login} ({user.role}), number {user.id}.")
    engine.dispose()


def password(
    login: Positional[str],
    /,
    new: Annotated[str | None, arg(name="password", help="'-' reads it from standard input.")] = None,
) -> None:
    """Set an account's password; its open sessions end."""
    secret = _ask_password(new)
    engine = connect(load_settings())
    with session_scope(engine) as session:
        accounts.set_password(session, login, password=secret)
    engine.dispose()
    print(f"The password of {login} is changed.")


def token(
    login: Positional[str],
    /,
    name: Annotated[str, arg(help="What the token is for.")] = "command line",
    days: Annotated[int | None, arg(help="Days until it expires; never when absent.")] = 90,
) -> None:
    """Issue a bearer token; it is printed once."""
    engine = connect(load_settings())
    with session_scope(engine) as session:
        user = accounts.find_user(session, login)
        _, secret = accounts.issue_token(session, user.id, name=name, days=days)
    engine.dispose()
    print(secret)


def list_accounts() -> None:
    """List the accounts."""
    engine = connect(load_settings())
    with session_scope(engine) as session:
        for user in accounts.list_users(session):
            notes = [text for text, on in (("simulated", user.is_simulated), ("closed", not user.is_active)) if on]
            who = f"{user.id:>5}  {user.login or '-':<20} {user.role:<14} {user.display_name or '':<34}"
            print(f"{who} {', '.join(notes)}".rstrip())
    engine.dispose()


def main(words: list[str]) -> None:
    choose(
        {
            "create": (create, "create an account"),
            "password": (password, "set a password"),
            "token": (token, "issue a bearer token"),
            "list": (list_accounts, "who is there"),
        },
        words,
        prog="user",
    )
