from __future__ import annotations

import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from preceptor.gateway.batching import MAXIMUM_ROWS, Batcher, Job, decode, take_batch

PROMPTS = ["What about asthma?", "A longer question about warfarin and its interactions?", "Fever?"]


@pytest.fixture(scope="module")
def loaded(small_policy: Path) -> tuple[Any, Any]:
    from preceptor.modeling.policy_model import load_policy

    return load_policy(small_policy)


def job(loaded: tuple[Any, Any], prompt: str, *, n: int = 1, seed: int = 0, tokens: int = 8, top_p: float = 1.0) -> Job:
    from preceptor.modeling.sequences import encode_prompt

    said: dict[int, list[int]] = {answer: [] for answer in range(n)}
    made = Job(encode_prompt(loaded[1], prompt)[0], n, tokens, 1.0, top_p, seed, emit=lambda _: None)

    def emit(event: Any) -> None:
        said[event[0]].append(event[1])

    made.emit = emit
    made.said = said  # type: ignore[attr-defined]
    return made


def answers(loaded: tuple[Any, Any], jobs: list[Job]) -> list[dict[int, list[int]]]:
    from preceptor.modeling.decoders import make_decoder
    from preceptor.modeling.policy_model import eos_ids

    decode(make_decoder(loaded[0]), jobs, frozenset(eos_ids(*loaded)))
    return [job.said for job in jobs]  # type: ignore[attr-defined]


def test_an_answer_is_the_one_that_batch_generation_gives(loaded: tuple[Any, Any]) -> None:
    from preceptor.modeling.generate import generate

    (said,) = answers(loaded, [job(loaded, PROMPTS[0], n=2, seed=5)])
    expected = generate(*loaded, PROMPTS[:1], n=2, max_new_tokens=8, seed=5)[0]
    assert [said[0], said[1]] == [completion.token_ids for completion in expected]


def test_company_in_the_batch_changes_no_answer(loaded: tuple[Any, Any]) -> None:
    def jobs() -> list[Job]:
        return [job(loaded, p, n=1 + i % 2, seed=i, tokens=4 + 3 * i) for i, p in enumerate(PROMPTS)]

    together = answers(loaded, jobs())
    assert together == [answers(loaded, [one])[0] for one in jobs()]
    assert [len(said[0]) for said in together] == [4, 7, 10]


def test_a_closed_answer_gets_no_more_tokens(loaded: tuple[Any, Any]) -> None:
    one = job(loaded, PROMPTS[0], n=2, tokens=6)
    plain = one.emit
    one.emit = lambda event: (plain(event), one.closed.add(0))[0]
    (said,) = answers(loaded, [one])
    assert (len(said[0]), len(said[1])) == (1, 6)


def test_only_requests_with_the_same_sampling_share_a_batch_and_none_is_lost(loaded: tuple[Any, Any]) -> None:
    one, other, two = (job(loaded, p, top_p=q) for p, q in zip(PROMPTS, (1.0, 0.5, 1.0), strict=True))
    waiting = deque([one, other, two])
    assert [id(found) for found in take_batch(waiting)] == [id(one), id(two)]
    assert list(waiting) == [other]
    many = deque(job(loaded, PROMPTS[0], n=8) for _ in range(6))
    assert sum(found.n for found in take_batch(many)) == MAXIMUM_ROWS
    assert len(many) == 2


def test_a_failure_reaches_every_caller_and_the_thread_lives_on() -> None:
    import queue

    class Broken:
        def prefill(self, *_: object) -> None:
            raise RuntimeError("no")

    batcher = Batcher(Broken(), frozenset({0}))  # type: ignore[arg-type]
    arrived: queue.Queue[Any] = queue.Queue()
    for turn in range(3):  # the third one comes after the model was given up
        batcher.submit(Job([1, 2], 1, 4, 1.0, 1.0, 0, emit=arrived.put))
        assert "failed to answer" in str(arrived.get(timeout=10))
        if turn == 1:
            batcher.stop()
            time.sleep(0.05)


def test_the_server_with_its_gateway_starts_without_torch() -> None:
    code = "import preceptor.server.app, preceptor.gateway.router, sys; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "preceptor.gateway.router" in loaded
    assert {"torch", "transformers", "spacy", "datasets"}.isdisjoint(loaded)
