"""Sample cases in, stored answers and the panel's judgements of them out, all through the HTTP API."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from preceptor.demo.accounts import SERVICE, People
from preceptor.demo.answers import Answer
from preceptor.demo.cases import Case
from preceptor.demo.client import API, ApiClient, in_parallel
from preceptor.demo.config import AGENT, DemoConfig
from preceptor.demo.judgements import Judgement, Shown
from preceptor.modeling.sequences import PROMPT_VERSION
from preceptor.stage import Progress

_BATCH = 100
_THREADS = 6


def store_answers(
    url: str,
    people: People,
    answers: Sequence[Answer],
    config: DemoConfig,
    *,
    label: Callable[[int], str],
    more: Callable[[int], dict[str, Any]] | None = None,
    progress: Progress,
) -> list[Shown]:
    """Register answers as interactions, in order; `label(i)` names the i-th: repeating stores nothing twice."""
    client = ApiClient(url, people.tokens[SERVICE])
    bodies = [
        {
            "session_id": f"demo-{answer.case.id}",
            "agent_name": AGENT,
            "prompt": answer.case.prompt,
            "response": answer.text or "(no answer)",
            "external_id": f"demo:{config.seed}:{label(index)}",
            "prompt_version": PROMPT_VERSION,
            "sampling": {"temperature": config.temperature, "max_new_tokens": config.max_new_tokens},
            "specialty": answer.case.specialty,
            "finished": answer.finished,
            **(more(index) if more else {}),
        }
        for index, answer in enumerate(answers)
    ]
    shown: list[Shown] = []
    for start in range(0, len(bodies), _BATCH):
        stored = client.post(f"{API}/interactions/batch", {"interactions": bodies[start : start + _BATCH]})
        for row, answer in zip(stored["items"], answers[start : start + _BATCH], strict=True):
            shown.append(Shown(row["interaction_id"], answer))
        progress(len(shown), len(bodies), {})
    client.close()
    return shown


def read_answers(url: str, people: People, kept: Sequence[tuple[str, Case]]) -> list[Shown]:
    """Read stored answers back, by interaction id, in order."""
    client = ApiClient(url, people.tokens[SERVICE])
    rows = [(name, case, client.get(f"{API}/interactions/{name}")) for name, case in kept]
    client.close()
    return [Shown(name, Answer(case, row["response"], bool(row["finished"]))) for name, case, row in rows]


def submit(url: str, people: People, judgements: Sequence[Judgement], *, progress: Progress) -> Counter[str]:
    """Send each judgement as its clinician; returns how many of each instrument were sent."""
    clients = {login: ApiClient(url, people.tokens[login]) for login in {one.login for one in judgements}}
    calls = [partial(clients[one.login].post, API + one.path, one.body) for one in judgements]
    in_parallel(calls, workers=_THREADS, progress=lambda done, total: progress(done, total, {}))
    for client in clients.values():
        client.close()
    return Counter(_instrument(one) for one in judgements)


def _instrument(judgement: Judgement) -> str:
    if judgement.path == "/preference":
        return "comparisons"
    return "thumbs" if "thumb" in judgement.body else "stars"
