"""A candidate release in, an A/B test with the panel out: questions through the gateway, blinded duels, a decision."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa

from preceptor.db.engine import session_scope
from preceptor.demo.accounts import People
from preceptor.demo.answers import Answer
from preceptor.demo.cases import Case
from preceptor.demo.client import ApiClient, in_parallel
from preceptor.demo.clinicians import PANEL
from preceptor.demo.collecting import store_answers, submit
from preceptor.demo.config import AGENT, DemoConfig
from preceptor.demo.judgements import Judgement, Shown, comparison, stars
from preceptor.experiment.config import DecisionPolicy, ExperimentConfig
from preceptor.experiment.run import decide
from preceptor.experiment.store import find_experiment, open_experiment
from preceptor.release import switch
from preceptor.release.registry import Origin
from preceptor.runs import run_stage_now
from preceptor.settings import Settings
from preceptor.stage import Progress

_THREADS = 8


def start(engine: sa.Engine, settings: Settings) -> str:
    """Start comparing the candidate with the active release, or find the comparison that runs; returns its id."""
    with session_scope(engine) as session:
        found = open_experiment(session, AGENT)
        if found is not None:
            return found.experiment_id
    result = run_stage_now(
        settings, "experiment", ExperimentConfig(agent_name=AGENT, action="start", policy=DecisionPolicy())
    )
    switch.synchronize(engine, settings)
    return str(result.metrics["experiment_id"])


def ask_questions(
    url: str, people: People, cases: Sequence[Case], config: DemoConfig, *, progress: Progress
) -> list[tuple[str, Shown]]:
    """Each clinician asks a few held-out questions; the gateway decides which release answers, and does not say."""
    draw = random.Random(f"{config.seed}|questions")
    asked = [(one.login, draw.choice(cases), turn) for one in PANEL for turn in range(config.questions_per_clinician)]
    clients = {login: ApiClient(url, people.tokens[login]) for login, _, _ in asked}

    def ask(login: str, case: Case, turn: int) -> tuple[str, Shown]:
        body = {
            "model": AGENT,
            "messages": [{"role": "user", "content": case.prompt}],
            "max_tokens": config.max_new_tokens,
            "temperature": config.temperature,
            "seed": config.seed * 1000 + turn,
        }
        answer = clients[login].post("/v1/chat/completions", body)
        choice = answer["choices"][0]
        text = choice["message"]["content"]
        shown = Shown(choice_interaction(answer), Answer(case, text, choice["finish_reason"] == "stop"))
        return login, shown

    calls = [partial(ask, login, case, turn) for login, case, turn in asked]
    found = in_parallel(calls, workers=_THREADS, progress=lambda done, total: progress(done, total, {}))
    for client in clients.values():
        client.close()
    return found


def choice_interaction(answer: dict[str, Any]) -> str:
    """The interaction id that the gateway gave to an answer."""
    return str(answer["preceptor"]["interaction_id"])


def rate_answers(
    url: str, people: People, shown: Sequence[tuple[str, Shown]], config: DemoConfig, *, progress: Progress
) -> int:
    """Each clinician rates the answers that were given to them."""
    by_login = {one.login: one for one in PANEL}
    ratings = [stars(by_login[login], answer, seed=config.seed + 1) for login, answer in shown]
    return sum(submit(url, people, ratings, progress=progress).values())


def hold_duels(
    url: str,
    people: People,
    pairs: Sequence[tuple[Answer, Answer]],
    config: DemoConfig,
    *,
    experiment_id: str,
    progress: Progress,
) -> int:
    """Blinded comparisons of candidate (first of each pair) and baseline on held-out cases, sides balanced."""
    flat = [answer for pair in pairs for answer in pair]
    arms = ("treatment", "control")
    stored = store_answers(
        url,
        people,
        flat,
        config,
        label=lambda i: f"{experiment_id}:{flat[i].case.id}:{arms[i % 2]}",
        more=lambda i: {"experiment_id": experiment_id, "arm": arms[i % 2]},
        progress=progress,
    )
    duels: list[Judgement] = []
    order = list(range(len(pairs)))
    draw = random.Random(f"{config.seed}|duels")
    for clinician in PANEL:
        for turn, index in enumerate(draw.sample(order, min(config.duels_per_clinician, len(order)))):
            candidate, baseline = stored[2 * index], stored[2 * index + 1]
            duels.append(
                comparison(
                    clinician, candidate, baseline, seed=config.seed, presented_first="a" if turn % 2 == 0 else "b"
                )
            )
    return sum(submit(url, people, duels, progress=progress).values())


def decide_and_act(engine: sa.Engine, settings: Settings, experiment_id: str) -> dict[str, Any]:
    """Close the experiment, and promote or keep the baseline as it says; a second call changes nothing more."""
    from datetime import UTC, datetime

    with session_scope(engine) as session:
        decision = decide(session, find_experiment(session, experiment_id), final=True, now=datetime.now(UTC))
    if decision["verdict"] == "promote":
        origin = Origin(actor="demo", reason=decision["reason"], evidence=experiment_id)
        switch.promote(engine, settings, AGENT, origin=origin)
    switch.synchronize(engine, settings)
    return decision
