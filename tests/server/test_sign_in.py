"""Passwords, browser sessions and form tokens: what opens a session, and what a browser alone cannot do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient

from preceptor.db.engine import session_scope
from preceptor.errors import ConflictError, InputError, NotFoundError
from preceptor.server import accounts, auth
from preceptor.server.errors import Problem

PASSWORD = "correct horse battery"
ME = "/api/v1/rlhf/me"
CONSENTS = "/api/v1/rlhf/consents"
Rows = Callable[[str], list[sa.RowMapping]]


@pytest.fixture
def browser(app: FastAPI, engine: sa.Engine) -> tuple[TestClient, str]:
    """A browser signed in as a clinician, and its form token."""
    with session_scope(engine) as session:
        accounts.create_user(session, "Ada", password=PASSWORD)
    opened = auth.sign_in(app.state.preceptor, "ada", password=PASSWORD)
    assert opened is not None
    principal, cookie = opened
    assert principal.csrf_token is not None
    return TestClient(app, cookies={auth.COOKIE: cookie}), principal.csrf_token


def test_a_session_reads_freely_and_writes_with_its_form_token(browser: tuple[TestClient, str]) -> None:
    one, token = browser
    assert one.get(ME).json()["login"] == "ada"
    sent = {"scope": "quality_only"}
    for headers in ({}, {"X-CSRF-Token": "wrong"}, {"X-CSRF-Token": "é".encode("latin-1")}):
        answer = one.post(CONSENTS, json=sent, headers=headers)  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/csrf")
    assert one.post(CONSENTS, json=sent, headers={"X-CSRF-Token": token}).status_code == 201


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}]
)
def test_another_site_cannot_write_even_with_the_form_token(
    browser: tuple[TestClient, str], headers: dict[str, str]
) -> None:
    one, token = browser
    answer = one.post(CONSENTS, json={"scope": "quality_only"}, headers={"X-CSRF-Token": token, **headers})
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/cross-site")


def test_signing_out_and_changing_the_password_end_the_session(
    app: FastAPI, engine: sa.Engine, browser: tuple[TestClient, str]
) -> None:
    one, _ = browser
    auth.sign_out(app.state.preceptor, one.cookies[auth.COOKIE])
    assert one.get(ME).status_code == 401
    opened = auth.sign_in(app.state.preceptor, "ada", password=PASSWORD)
    assert opened is not None
    with session_scope(engine) as session:
        accounts.set_password(session, "ada", password="another long password")
    assert TestClient(app, cookies={auth.COOKIE: opened[1]}).get(ME).status_code == 401
    assert auth.sign_in(app.state.preceptor, "ada", password=PASSWORD) is None


def test_a_wrong_password_an_unknown_login_and_a_closed_account_look_alike(app: FastAPI, engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        accounts.create_user(session, "ada", password=PASSWORD)
        accounts.create_user(session, "bob", password=PASSWORD).is_active = False
        accounts.create_user(session, "bot", role="service")
    for login, password in (("ada", "wrong"), ("nobody", PASSWORD), ("bob", PASSWORD), ("bot", ""), ("a\x00", "x")):
        assert auth.sign_in(app.state.preceptor, login, password=password) is None, login


def test_too_many_failures_close_an_account_for_a_while(
    app: FastAPI, engine: sa.Engine, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "FAILURES_ALLOWED", 3)
    with session_scope(engine) as session:
        accounts.create_user(session, "ada", password=PASSWORD)
    for _ in range(3):
        assert auth.sign_in(app.state.preceptor, "ada", password="wrong") is None
    with pytest.raises(Problem) as caught:
        auth.sign_in(app.state.preceptor, "ada", password=PASSWORD)
    assert caught.value.slug == "too-many"
    assert [row["action"] for row in rows("audit_log")].count("sign_in.failed") == 3


def test_only_hashes_of_secrets_are_stored(engine: sa.Engine, rows: Rows, browser: tuple[TestClient, str]) -> None:
    with session_scope(engine) as session:
        secret = accounts.issue_token(session, 1, name="x")[1]
    stored = str(rows("users")) + str(rows("api_tokens")) + str(rows("web_sessions")) + str(rows("audit_log"))
    assert rows("users")[0]["password_hash"].startswith("$argon2id$")
    for value in (PASSWORD, secret, browser[0].cookies[auth.COOKIE]):
        assert value not in stored


def test_accounts_that_cannot_be_made_say_why(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        accounts.create_user(session, "ada")
        with pytest.raises(ConflictError, match="already an account 'ada'"):
            accounts.create_user(session, " ADA ")
        with pytest.raises(InputError, match="at least 12"):
            accounts.create_user(session, "bob", password="short")
        with pytest.raises(InputError, match="role 'king'"):
            accounts.create_user(session, "bob", role="king")
        with pytest.raises(NotFoundError):
            accounts.set_password(session, "nobody", password=PASSWORD)


@pytest.mark.parametrize("header", ["Bearer nope", "Bearer", "Basic YTpi", "", "Bearer \u00e9"])
def test_an_unusable_authorization_header_is_a_401_even_beside_a_session(
    browser: tuple[TestClient, str], header: str
) -> None:
    answer = browser[0].get(ME, headers={"Authorization": header.encode("latin-1")})  # type: ignore[dict-item]
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
