"""Deployed releases in; their weights loaded once, a few kept, answering in this process, out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from preceptor.artifacts.store import ArtifactStore
from preceptor.errors import InputError, NotFoundError
from preceptor.gateway.backends import Finish, Piece, Sampling, Source, visible
from preceptor.modeling.digest import model_digest
from preceptor.release.document import Served
from preceptor.settings import Settings

if TYPE_CHECKING:
    from preceptor.gateway.batching import Batcher

logger = logging.getLogger(__name__)

KEPT = 3
# transformers imports its parts when they are first used, and two threads that do so at once break each other's import
_one_load_at_a_time = threading.Lock()


@dataclass
class Loaded:
    """Weights in memory with what is needed to read and write their tokens."""

    tokenizer: Any
    context: int
    digest: str
    batcher: Batcher


@dataclass
class LocalModels:
    """The models in memory, the least recently used given up first; one that loads holds up none that is loaded."""

    settings: Settings
    _models: OrderedDict[str, Loaded] = field(default_factory=OrderedDict)
    _loading: dict[str, threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def source(self, served: Served) -> Source:
        """Load a release if needed; blocks for seconds the first time.

        Raises:
            ModelError: the model cannot be found or is of another kind.
            StorageError: its files are damaged.
        """
        key = f"{served.model}@{served.digest}"
        with self._lock:
            loading = self._loading.setdefault(key, threading.Lock())
        with loading:
            loaded = self._models.get(key) or _load_alone(served, self.settings)
            with self._lock:
                self._models[key] = loaded
                self._models.move_to_end(key)
                while len(self._models) > KEPT:
                    old, given_up = self._models.popitem(last=False)
                    self._loading.pop(old, None)
                    given_up.batcher.stop()
        return Source(served, loaded.digest, partial(stream, loaded))


def _load_alone(served: Served, settings: Settings) -> Loaded:
    with _one_load_at_a_time:
        return load(served, settings)


def load(served: Served, settings: Settings) -> Loaded:
    """Read and check the weights, and make the queue of requests to them."""
    from preceptor.gateway.batching import Batcher
    from preceptor.modeling.decoders import make_decoder
    from preceptor.modeling.policy_model import context_length, eos_ids, load_policy

    store = ArtifactStore(settings.artifacts_dir)
    named = served.model
    with contextlib.suppress(NotFoundError):
        named = str(store.open(served.model, verify=True).path)
    digest = model_digest(served.model, store=store, models_dir=settings.models_dir)
    if digest != served.digest:
        logger.warning(
            "%s has digest %s, not %s as registered; answers carry %s.", named, digest, served.digest, digest
        )
    model, tokenizer = load_policy(named, dtype="bfloat16", models_dir=settings.models_dir)
    batcher = Batcher(make_decoder(model), frozenset(eos_ids(model, tokenizer)))
    logger.info("loaded version %d (%s)", served.version, digest)
    return Loaded(tokenizer, context_length(model), digest, batcher)


async def stream(loaded: Loaded, prompt: str, sampling: Sampling) -> AsyncGenerator[Piece]:
    """Answers to a prompt, piece by piece.

    Raises:
        InputError: `max_tokens` leaves no room for the prompt.
        ModelError: the model is overloaded or failed.
    """
    from preceptor.gateway.batching import Job
    from preceptor.modeling.sequences import encode_prompt

    room = loaded.context - sampling.max_tokens
    if room < 1:
        raise InputError(f"max_tokens {sampling.max_tokens} fills the model's context of {loaded.context}: lower it.")
    ids, _ = encode_prompt(loaded.tokenizer, prompt, room)
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[tuple[int, int, Finish | None] | Exception] = asyncio.Queue()

    def emit(event: tuple[int, int, Finish | None] | Exception) -> None:
        with contextlib.suppress(RuntimeError):  # the loop closed: nobody is left to tell
            loop.call_soon_threadsafe(arrived.put_nowait, event)

    job = Job(ids, sampling.n, sampling.max_tokens, sampling.temperature, sampling.top_p, sampling.seed, emit=emit)
    loaded.batcher.submit(job)
    try:
        async with contextlib.aclosing(_pieces(loaded.tokenizer, job, sampling, arrived)) as pieces:
            async for piece in pieces:
                yield piece
    finally:
        job.closed.update(range(sampling.n))


async def _pieces(tokenizer: Any, job: Any, sampling: Sampling, arrived: asyncio.Queue[Any]) -> AsyncGenerator[Piece]:
    tokens: list[list[int]] = [[] for _ in range(sampling.n)]
    sent = [""] * sampling.n
    while len(job.closed) < sampling.n:
        event = await arrived.get()
        if isinstance(event, Exception):
            raise event
        index, token, finish = event
        if index in job.closed:
            continue
        tokens[index].append(token)
        whole = tokenizer.decode(tokens[index], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        shown, stopped = visible(whole, sampling.stop, done=finish is not None)
        ended: Finish | None = "stop" if stopped else finish
        delta, sent[index] = shown[len(sent[index]) :], shown
        if ended is not None:
            job.closed.add(index)
            yield Piece(index, delta, ended, len(job.prompt_ids), len(tokens[index]))
        elif delta:
            yield Piece(index, delta)
