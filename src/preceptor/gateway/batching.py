"""Requests from many callers in, decoded together, tokens back to each as they come, out.

One thread for each loaded model: whoever asks while a batch is under way joins the next one. An answer's random
numbers come from its own seed, so company changes nothing beyond rounding.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from preceptor.errors import ModelError
from preceptor.gateway.backends import Finish
from preceptor.modeling.decoders import Decoder
from preceptor.modeling.generate import pad_left, sample

logger = logging.getLogger(__name__)

MAXIMUM_ROWS = 32
MAXIMUM_WAITING = 128


@dataclass
class Job:
    """One request for `n` answers. `emit` gets (answer, token, finish), or an exception; it must not block.

    The caller adds to `closed` the answers that nobody waits for any more.
    """

    prompt_ids: list[int]
    n: int
    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    emit: Callable[[tuple[int, int, Finish | None] | Exception], None]
    closed: set[int] = field(default_factory=set)


@dataclass
class Batcher:
    """The queue of one model and the thread that serves it."""

    decoder: Decoder
    eos: frozenset[int]
    _waiting: deque[Job] = field(default_factory=deque)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _stopped: bool = False
    _serving: bool = False

    def submit(self, job: Job) -> None:
        """Queue a request.

        Raises:
            ModelError: too many requests wait already.
        """
        with self._changed:
            if len(self._waiting) >= MAXIMUM_WAITING:
                raise ModelError("Too many requests wait for this model; try again shortly.")
            self._waiting.append(job)
            if not self._serving:  # the first request, or one that comes after the model was given up
                self._serving = True
                threading.Thread(target=self._serve, name="preceptor-gateway-model", daemon=True).start()
            self._changed.notify()

    def stop(self) -> None:
        """End the thread once the queue is empty."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._stopped:
                    self._changed.wait()
                if not self._waiting:
                    self._serving = False
                    return
                batch = take_batch(self._waiting)
            try:
                decode(self.decoder, batch, self.eos)
            except Exception as error:
                logger.error("decoding %d requests failed: %s", len(batch), type(error).__name__)
                for job in batch:
                    job.emit(ModelError("The model failed to answer; try again, or with a shorter conversation."))


def take_batch(waiting: deque[Job]) -> list[Job]:
    """Remove the oldest request and those that can be decoded with it: the same temperature and top_p."""
    first = waiting.popleft()
    batch, rows, left = [first], first.n, deque[Job]()
    while waiting:
        job = waiting.popleft()
        fits = (job.temperature, job.top_p) == (first.temperature, first.top_p) and rows + job.n <= MAXIMUM_ROWS
        (batch if fits else left).append(job)
        rows += job.n if fits else 0
    waiting.extend(left)
    return batch


@torch.no_grad()
def decode(decoder: Decoder, jobs: Sequence[Job], eos: frozenset[int]) -> None:
    """Sample every answer of every job to its end, telling each token as it is drawn."""
    owners: list[tuple[Job, int]] = [(job, answer) for job in jobs for answer in range(job.n)]
    limit = max(job.max_tokens for job in jobs)
    uniforms = torch.from_numpy(
        np.stack([np.random.default_rng([job.seed, 0, answer]).random(limit) for job, answer in owners])
    )
    ids, mask = pad_left([job.prompt_ids for job in jobs])
    logits: Any = decoder.prefill(ids, mask, limit)  # (jobs, V)
    if len(owners) > len(jobs):
        source = torch.tensor([place for place, job in enumerate(jobs) for _ in range(job.n)])
        decoder.select(source)
        logits = logits[source]
    alive = list(range(len(owners)))  # which answer each row of the batch is
    temperature, top_p = jobs[0].temperature, jobs[0].top_p
    for step in range(limit):
        tokens = sample(logits, uniforms[alive, step], temperature=temperature, top_p=top_p)
        kept: list[int] = []
        for place, (row, token) in enumerate(zip(alive, tokens.tolist(), strict=True)):
            job, answer = owners[row]
            finish: Finish | None = "stop" if token in eos else "length" if step + 1 >= job.max_tokens else None
            if answer not in job.closed:
                job.emit((answer, token, finish))
                if finish is None:
                    kept.append(place)
        if not kept:
            return
        if len(kept) < len(alive):
            rows = torch.tensor(kept)
            decoder.select(rows)
            tokens, alive = tokens[rows], [alive[place] for place in kept]
        logits = decoder.step(tokens)
