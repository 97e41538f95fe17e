from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
import sqlalchemy as sa

from preceptor.artifacts.store import ArtifactStore
from preceptor.db.engine import session_scope
from preceptor.db.tables.raw import Interaction
from preceptor.db.tables.rollout import Experiment, ExperimentAssignment, Exposure
from preceptor.experiment.store import create_experiment
from preceptor.release import switch
from preceptor.release.registry import Origin
from preceptor.settings import Settings

AGENT = "triage_agent"
QUESTION = "Zebulon asks about a cough after lisinopril."
WHY = Origin("dr.okafor", "test")
Serving = Any


def ask(serving: Serving, login: str = "alice", **fields: Any) -> dict[str, Any]:
    body = {"model": AGENT, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 4, **fields}
    with serving.client(login) as client:
        answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json() | {"headers": dict(answer.headers)}


def rows(engine: sa.Engine, table: type[Any]) -> list[Any]:
    with session_scope(engine) as session:
        return list(session.scalars(sa.select(table).order_by(table.id)))


def test_the_openai_client_talks_to_the_embedded_model_whole_and_streamed(serving: Serving, engine: sa.Engine) -> None:
    client = openai.OpenAI(base_url=f"{serving.url}/v1", api_key=serving.tokens["alice"], max_retries=0)
    asked: dict[str, Any] = {
        "model": f"preceptor/{AGENT}",
        "messages": [{"role": "user", "content": "What helps a dry cough?"}],
        "max_tokens": 6,
        "seed": 11,
        "temperature": 0.7,
    }
    whole = client.chat.completions.create(**asked, metadata={"session_id": "visit-7"})
    text = whole.choices[0].message.content
    assert text
    assert whole.usage is not None
    assert whole.usage.completion_tokens <= 6
    assert whole.usage.prompt_tokens > 5
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == text
    assert chunks[-1].usage == whole.usage
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] in {"stop", "length"}
    extra: dict[str, Any] = (whole.model_extra or {})["preceptor"]
    stored = rows(engine, Interaction)
    assert [row.response for row in stored] == [text, text]
    first = stored[0]
    assert first.interaction_id == extra["interaction_id"]
    assert (first.session_id, first.agent_name, first.source) == ("visit-7", AGENT, "gateway")
    assert first.prompt == "What helps a dry cough?"
    assert first.model_name == "gpt2"
    assert first.model_digest == extra["model_digest"] == whole.system_fingerprint
    assert len(first.model_digest) == 16
    assert first.prompt_version == extra["prompt_version"]
    assert first.sampling == {"n": 1, "max_tokens": 6, "temperature": 0.7, "top_p": 1.0, "seed": 11}
    assert first.arm is None
    assert client.models.list().data[0].id == f"preceptor/{AGENT}"


def test_two_answers_are_two_interactions_to_compare(small_serving: Serving, engine: sa.Engine) -> None:
    answer = ask(small_serving, n=2, seed=1)
    ids = [choice["preceptor"]["interaction_id"] for choice in answer["choices"]]
    assert answer["preceptor"]["interaction_ids"] == ids
    assert answer["headers"]["x-preceptor-interaction-id"] == ", ".join(ids)
    stored = {row.interaction_id: row for row in rows(engine, Interaction)}
    assert [stored[key].response for key in ids] == [c["message"]["content"] for c in answer["choices"]]
    assert stored[ids[0]].response != stored[ids[1]].response
    assert {row.session_id for row in stored.values()} == {answer["preceptor"]["session_id"]}


def test_an_answer_can_be_judged_by_its_interaction_id(small_serving: Serving) -> None:
    interaction_id = ask(small_serving)["preceptor"]["interaction_id"]
    with small_serving.client() as client:
        judged = client.post("/api/v1/rlhf/feedback", json={"interaction_id": interaction_id, "rating": 4})
    assert judged.status_code in {200, 201}, judged.text


def test_the_same_seed_gives_the_same_answer_also_in_company(small_serving: Serving) -> None:
    alone = [ask(small_serving, seed=seed)["choices"][0]["message"]["content"] for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        together = list(
            pool.map(lambda seed: ask(small_serving, seed=seed)["choices"][0]["message"]["content"], range(6))
        )
    assert together == alone
    assert len(set(alone)) > 3


def test_a_stop_text_ends_the_answer_before_it(small_serving: Serving) -> None:
    text = ask(small_serving, seed=2, max_tokens=8)["choices"][0]["message"]["content"]
    word = text.split()[-1][:4]
    stopped = ask(small_serving, seed=2, max_tokens=8, stop=[word])["choices"][0]
    assert word not in stopped["message"]["content"]
    assert text.startswith(stopped["message"]["content"])
    assert stopped["finish_reason"] == "stop"


@pytest.mark.parametrize(("login", "status"), [("nobody", 401), ("audrey", 403)])
def test_only_accounts_that_may_ask_are_answered(
    small_serving: Serving, engine: sa.Engine, login: str, status: int
) -> None:
    small_serving.tokens["nobody"] = "not-a-token"
    body = {"model": AGENT, "messages": [{"role": "user", "content": QUESTION}]}
    with small_serving.client(login) as client:
        answer = client.post("/v1/chat/completions", json=body)
        assert client.get("/v1/models").status_code == status
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert rows(engine, Interaction) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": []},
        {"model": "a b"},
        {"max_tokens": 1000},
        {"temperature": "Zebulon"},
        {"metadata": {"session_id": "Zebulon\n7"}},
    ],
)
def test_a_bad_request_names_the_field_and_repeats_nothing(
    small_serving: Serving, engine: sa.Engine, fields: dict[str, Any]
) -> None:
    body = {"model": AGENT, "messages": [{"role": "user", "content": QUESTION}], **fields}
    with small_serving.client() as client:
        for stream in (False, True):
            answer = client.post("/v1/chat/completions", json=body | {"stream": stream})
            assert answer.status_code == 422
            assert next(iter(fields)) in answer.text
            assert "Zebulon" not in answer.text
    assert rows(engine, Interaction) == []


def test_a_new_release_is_served_on_the_next_request_without_a_restart(
    small_serving: Serving, small_settings: Settings, engine: sa.Engine, release_candidate: Callable[[str], str]
) -> None:
    before = ask(small_serving)["preceptor"]["model_digest"]
    release_candidate("one")
    promoted = switch.promote(engine, small_settings, AGENT, origin=WHY)
    assert ask(small_serving)["preceptor"]["model_digest"] == promoted.digest != before
    switch.rollback(engine, small_settings, AGENT, origin=WHY)
    assert ask(small_serving)["preceptor"]["model_digest"] == before
    small_settings.deployments_file.write_text("torn")
    assert ask(small_serving)["preceptor"]["model_digest"] == before


def test_a_promotion_in_the_middle_of_requests_fails_none_of_them(
    small_serving: Serving, small_settings: Settings, engine: sa.Engine, release_candidate: Callable[[str], str]
) -> None:
    before = ask(small_serving)["preceptor"]["model_digest"]
    release_candidate("one")
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, small_serving, seed=seed, max_tokens=40) for seed in range(12)]
        promoted = switch.promote(engine, small_settings, AGENT, origin=WHY)
        assert ask(small_serving)["preceptor"]["model_digest"] == promoted.digest
        answers = [one.result() for one in asked]  # `ask` demands a 200 of each
    assert {answer["preceptor"]["model_digest"] for answer in answers} <= {before, promoted.digest}
    stored = {row.interaction_id: row.model_digest for row in rows(engine, Interaction)}
    assert all(
        stored[answer["preceptor"]["interaction_id"]] == answer["preceptor"]["model_digest"] for answer in answers
    )


def test_a_policy_answers_as_it_was_trained_unless_the_request_says_otherwise(
    small_serving: Serving, small_settings: Settings, engine: sa.Engine, release_candidate: Callable[[str], str]
) -> None:
    ask(small_serving, max_tokens=None, max_completion_tokens=3)
    release_candidate("one")
    switch.promote(engine, small_settings, AGENT, origin=WHY)
    ask(small_serving, max_tokens=None)
    ask(small_serving, temperature=0.9)
    drawn = [(row.sampling["temperature"], row.sampling["max_tokens"]) for row in rows(engine, Interaction)]
    assert drawn == [(1.0, 3), (0.5, 5), (0.9, 4)]


def start_experiment(
    serving: Serving, settings: Settings, engine: sa.Engine, release_candidate: Callable[[str], str]
) -> tuple[str, str]:
    """Control and treatment digests of an experiment that runs."""
    control = ask(serving)["preceptor"]["model_digest"]
    treatment_release = release_candidate("treatment")
    stable = switch.list_releases(engine, AGENT)[0]
    with session_scope(engine) as session:
        create_experiment(
            session, agent_name=AGENT, control_release_id=stable.release_id, treatment_release_id=treatment_release
        )
    switch.synchronize(engine, settings)
    return control, switch.list_releases(engine, AGENT)[1].digest


def test_clinicians_keep_their_arm_and_cannot_see_it(
    small_serving: Serving, small_settings: Settings, engine: sa.Engine, release_candidate: Callable[[str], str]
) -> None:
    control, treatment = start_experiment(small_serving, small_settings, engine, release_candidate)
    digests: dict[str, set[str]] = {}
    for _ in range(2):
        for login in ("alice", "bob", "carol", "dan"):
            answer = ask(small_serving, login)
            digests.setdefault(login, set()).add(answer["preceptor"]["model_digest"])
            answer["choices"][0]["message"]["content"] = ""  # drawn from a small vocabulary that has "control" in it
            seen = json.dumps(answer).lower().replace("cache-control", "")
            assert all(word not in seen for word in ("control", "candidate", "treatment", "exp_", "stable")), seen
    assert all(len(found) == 1 for found in digests.values())
    assert {next(iter(found)) for found in digests.values()} == {control, treatment}
    exposures = rows(engine, Exposure)
    assert len(exposures) == 8
    arms = {row.unit: row.arm for row in rows(engine, ExperimentAssignment)}
    assert len(arms) == 4
    for exposure in exposures:
        assert exposure.arm == arms[exposure.unit]
        assert exposure.model_digest == (treatment if exposure.arm == "treatment" else control)
        assert exposure.generation > 0
    stored = {row.interaction_id: row for row in rows(engine, Interaction)}
    assert all(stored[e.interaction_id].arm == e.arm for e in exposures)
    assert all(stored[e.interaction_id].experiment_id == e.experiment_id for e in exposures)


def test_the_kill_switch_comes_first(
    small_serving: Serving, small_settings: Settings, engine: sa.Engine, release_candidate: Callable[[str], str]
) -> None:
    control, _ = start_experiment(small_serving, small_settings, engine, release_candidate)
    switch.switch_kill(engine, small_settings, AGENT, origin=WHY, on=True)
    for login in ("alice", "bob", "carol", "dan"):
        assert ask(small_serving, login)["preceptor"]["model_digest"] == control
    assert rows(engine, Exposure) == []


def test_without_an_answer_about_the_arm_the_stable_release_serves(
    small_serving: Serving, small_settings: Settings, engine: sa.Engine, release_candidate: Callable[[str], str]
) -> None:
    control, _ = start_experiment(small_serving, small_settings, engine, release_candidate)
    with engine.connect() as other, other.begin():
        other.execute(sa.text("LOCK TABLE experiment_assignments IN ACCESS EXCLUSIVE MODE"))
        assert ask(small_serving)["preceptor"]["model_digest"] == control
    assert rows(engine, Exposure) == []
    assert rows(engine, ExperimentAssignment) == []


def test_a_candidate_that_cannot_be_loaded_gives_way_and_is_counted_as_a_crossover(
    small_serving: Serving,
    small_settings: Settings,
    engine: sa.Engine,
    store: ArtifactStore,
    release_candidate: Callable[[str], str],
) -> None:
    control, treatment = start_experiment(small_serving, small_settings, engine, release_candidate)
    (store.path(f"policy-{treatment}") / "config.json").write_text("{}")
    for login in ("alice", "bob", "carol", "dan"):
        assert ask(small_serving, login)["preceptor"]["model_digest"] == control
    assigned = {row.unit: row.arm for row in rows(engine, ExperimentAssignment)}
    assert "treatment" in assigned.values()
    assert {row.arm for row in rows(engine, Exposure)} == {"control"}


def test_a_paused_experiment_serves_the_stable_release_even_before_the_document_says_so(
    small_serving: Serving, small_settings: Settings, engine: sa.Engine, release_candidate: Callable[[str], str]
) -> None:
    control, _ = start_experiment(small_serving, small_settings, engine, release_candidate)
    with session_scope(engine) as session:
        session.execute(sa.update(Experiment).values(state="paused"))
    for login in ("alice", "bob", "carol", "dan"):
        assert ask(small_serving, login)["preceptor"]["model_digest"] == control


def test_a_caller_that_leaves_in_the_middle_is_remembered_with_what_was_shown(
    small_serving: Serving, engine: sa.Engine
) -> None:
    import time

    body = {
        "model": AGENT,
        "messages": [{"role": "user", "content": "x"}],
        "max_tokens": 200,
        "stream": True,
        "seed": 4,
    }
    with small_serving.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as answer:
        announced = answer.headers["x-preceptor-interaction-id"]
        next(answer.iter_lines())
    deadline = time.monotonic() + 10
    while not rows(engine, Interaction) and time.monotonic() < deadline:
        time.sleep(0.05)
    (stored,) = rows(engine, Interaction)
    assert stored.interaction_id == announced
