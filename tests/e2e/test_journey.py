"""A clinician rates and compares in a real browser, by keyboard; the dashboard shows it; nothing hostile runs."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Page, expect

from preceptor.collect.interactions import create_interaction
from preceptor.collect.queue import add_item
from preceptor.collect.schemas import InteractionIn, QueueItemIn
from preceptor.db.encrypted import make_cipher
from preceptor.db.engine import session_scope
from preceptor.server import accounts
from preceptor.settings import Settings

PASSWORD = "a long enough password"
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(autouse=True)
def people_and_work(engine: sa.Engine, settings: Settings) -> None:
    """A clinician, an administrator, two answers to rate and one pair to compare."""
    cipher = make_cipher(settings)
    with session_scope(engine) as session:
        service = accounts.create_user(session, "gateway", role="service")
        accounts.create_user(session, "dr.lee", password=PASSWORD, display_name="Dr. Lee", specialty="cardiology")
        accounts.create_user(session, "boss", role="admin", password=PASSWORD)
        said = ("Check kidney function first, then review in two weeks.", f"All fine. {HOSTILE}")
        made = [
            create_interaction(
                session,
                cipher,
                given=InteractionIn(
                    session_id="visit-1",
                    agent_name="clinical_agent",
                    prompt="What should I check before metformin?",
                    response=text,
                    model_name="secret-model-name",
                    arm="treatment",
                ),
                created_by=service.id,
            )[0].interaction_id
            for text in said
        ]
        for interaction_id in made:
            add_item(session, cipher, given=QueueItemIn(kind="rate", interaction_a=interaction_id))
        pair = QueueItemIn(kind="compare", interaction_a=made[0], interaction_b=made[1])
        add_item(session, cipher, given=pair)


@pytest.fixture
def page(browser: Browser, server_url: str) -> Page:
    """A fresh page whose scripts, requests and console are watched."""
    context = browser.new_context(base_url=server_url)
    page = context.new_page()
    page.set_default_timeout(30_000)
    return page


def _sign_in(page: Page, login: str) -> None:
    page.goto("/")
    page.fill("#login", login)
    page.fill("#password", PASSWORD)
    page.keyboard.press("Enter")


def _consent(page: Page) -> None:
    page.get_by_role("button", name="Save my choice").click()
    expect(page.get_by_role("heading", name="Rate this answer")).to_be_visible()


def _press(page: Page, key: str) -> None:
    """Press a key once the page's script listens."""
    page.wait_for_load_state("load")
    page.keyboard.press(key)


def test_a_clinician_rates_compares_undoes_and_withdraws_by_keyboard(page: Page, engine: sa.Engine) -> None:
    outside: list[str] = []
    page.on("request", lambda request: outside.append(request.url) if "127.0.0.1" not in request.url else None)
    _sign_in(page, "dr.lee")
    _consent(page)
    expect(page.get_by_role("heading", name="Rate this answer")).to_be_visible()

    _press(page, "5")
    expect(page.get_by_role("status")).to_contain_text("Saved: 5 of 5")
    _press(page, "u")
    expect(page.get_by_role("status")).to_contain_text("Taken back")
    expect(page.get_by_text("2 waiting").or_(page.get_by_text("3 waiting"))).to_be_visible()
    _press(page, "4")
    expect(page.get_by_role("status")).to_contain_text("Saved: 4 of 5")
    _press(page, "n")
    expect(page.get_by_role("heading", name="Nothing waits for you here")).to_be_visible()

    page.goto("/compare")
    expect(page.get_by_role("region", name="Left answer")).to_be_visible()
    assert "secret-model-name" not in page.content()
    assert "treatment" not in page.content()
    assert page.title().startswith("Compare")
    _press(page, "1")
    expect(page.get_by_role("status")).to_contain_text("left much better")

    page.goto("/me")
    expect(page.get_by_role("row")).to_have_count(5)  # the header, and the undone one stays listed as withdrawn
    page.get_by_role("button", name="Withdraw").first.click()
    expect(page.get_by_text("withdrawn", exact=True)).to_have_count(2)
    assert outside == []

    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT instrument, rating, thumb, outcome, strength, source, active_ms IS NOT NULL AS timed "
            "FROM judgements j WHERE withdrawn_at IS NULL OR instrument = 'comparison' ORDER BY instrument"
        ).mappings()
        found = {row["instrument"]: row for row in rows}
    assert found["stars"]["rating"] == 4
    assert found["thumbs"]["thumb"] == -1
    assert found["comparison"]["outcome"] in ("a", "b")
    assert found["comparison"]["strength"] == 2


def test_keys_inside_the_form_judge_nothing_by_accident(page: Page, engine: sa.Engine) -> None:
    _sign_in(page, "dr.lee")
    _consent(page)
    _press(page, "c")
    page.keyboard.type("5 mg, not 50 mg")  # digits typed into the comment are text
    page.keyboard.press("Escape")
    page.get_by_label("Wrong fact").focus()
    page.keyboard.press("Enter")  # the browser would press the form's first button: "unsafe or wrong"
    expect(page.get_by_role("heading", name="Rate this answer")).to_be_visible()
    expect(page.get_by_label("Comment")).to_have_value("5 mg, not 50 mg")
    page.get_by_label("Wrong fact").press("Space")
    _press(page, "2")
    expect(page.get_by_role("status")).to_contain_text("Saved: 2 of 5")
    with engine.connect() as connection:
        stored = connection.exec_driver_sql("SELECT rating FROM judgements").scalars().all()
    assert stored == [2]


def test_the_dashboard_shows_what_was_judged(page: Page) -> None:
    _sign_in(page, "dr.lee")
    _consent(page)
    _press(page, "3")
    expect(page.get_by_role("status")).to_contain_text("Saved: 3 of 5")
    page.get_by_role("button", name="Sign out").click()

    _sign_in(page, "boss")
    expect(page.get_by_role("heading", name="Dashboard")).to_be_visible()
    expect(page.get_by_text("1 today, 1 clinician")).to_be_visible()
    expect(page.get_by_role("img", name="Judgements per day")).to_be_visible()
    page.get_by_role("link", name="Rounds").click()
    expect(page.get_by_role("heading", name="No round yet")).to_be_visible()


def test_text_of_agents_is_shown_as_text_and_runs_nothing(page: Page) -> None:
    _sign_in(page, "dr.lee")
    _consent(page)
    page.goto("/compare")
    expect(page.get_by_text("<script>")).to_be_visible()
    assert page.title() != "owned"


@pytest.mark.parametrize("path", ["/dashboard", "/runs"])
def test_a_clinician_may_not_see_what_is_not_for_clinicians(page: Page, path: str) -> None:
    _sign_in(page, "dr.lee")
    _consent(page)
    response = page.goto(path)
    assert response is not None
    assert response.status == 403
    expect(page.get_by_role("heading", name="This account may not do that")).to_be_visible()


def test_a_wrong_password_is_said_plainly_and_a_visitor_is_sent_to_sign_in(page: Page) -> None:
    page.goto("/rate")
    expect(page).to_have_url(re.compile(r"/login\?next="))
    page.fill("#login", "dr.lee")
    page.fill("#password", "not the password")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Login or password is not right")


@pytest.mark.parametrize("width", [320, 1280])
def test_pages_need_no_sideways_scrolling(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    _sign_in(page, "dr.lee")
    _consent(page)
    for path in ("/rate", "/compare", "/me", "/consent"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
