"""A real server on the loopback, the embedded model behind it, and small policies to release."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
import uvicorn

from preceptor.artifacts.store import ArtifactStore
from preceptor.db.engine import session_scope
from preceptor.modeling.resolve import default_models_dir, resolve_model
from preceptor.release import registry
from preceptor.server import accounts
from preceptor.server.app import create_app
from preceptor.settings import Settings

AGENT = "triage_agent"


@dataclass(frozen=True)
class Serving:
    """A server that runs, and a bearer token for each login."""

    url: str
    tokens: dict[str, str]

    def client(self, login: str = "alice") -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.tokens[login]}"}, timeout=60.0)


@pytest.fixture(scope="session")
def small_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A one-layer model with SmolLM2's tokenizer: other weights, quickly loaded."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("small")
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("gpt2", models_dir=default_models_dir()))
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def serving_settings(settings: Settings) -> Settings:
    """The embedded model, converted once for the whole machine."""
    settings.models_dir.parent.mkdir(parents=True, exist_ok=True)
    resolve_model("gpt2", models_dir=default_models_dir())
    settings.models_dir.symlink_to(default_models_dir())
    return settings


def serve(settings: Settings, engine: sa.Engine) -> Iterator[Serving]:
    tokens: dict[str, str] = {}
    with session_scope(engine) as session:
        for login in ("alice", "bob", "carol", "dan"):
            user = accounts.create_user(session, login, specialty="cardiology")
            tokens[login] = accounts.issue_token(session, user.id, name="test")[1]
        auditor = accounts.create_user(session, "audrey", role="auditor")
        tokens["audrey"] = accounts.issue_token(session, auditor.id, name="test")[1]
    config = uvicorn.Config(create_app(settings, engine), port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Serving(f"http://127.0.0.1:{port}", tokens)
    server.should_exit = True
    thread.join(10)
    logging.getLogger("uvicorn").handlers.clear()


@pytest.fixture
def serving(serving_settings: Settings, engine: sa.Engine) -> Iterator[Serving]:
    yield from serve(serving_settings, engine)


@pytest.fixture
def small_settings(settings: Settings, small_policy: Path) -> Settings:
    return settings.model_copy(update={"policy_model": str(small_policy)})


@pytest.fixture
def small_serving(small_settings: Settings, engine: sa.Engine) -> Iterator[Serving]:
    """The same server with the small model as its base: for everything but the words."""
    yield from serve(small_settings, engine)


@pytest.fixture
def release_candidate(store: ArtifactStore, small_policy: Path, engine: sa.Engine) -> Callable[[str], str]:
    """Publish a policy, trained at temperature 0.5, and register it as the candidate; returns the release id."""

    def make(label: str) -> str:
        with store.building("policy") as build:
            shutil.copytree(small_policy, build.path, dirs_exist_ok=True)
            (build.path / "label.txt").write_text(label)
            (build.path / "preceptor.json").write_text('{"config": {"temperature": 0.5, "max_new_tokens": 5}}')
        with session_scope(engine) as session:
            return registry.register(
                session,
                AGENT,
                model=build.artifact.id,
                digest=build.artifact.id.rpartition("-")[2],
                report="report-1",
                run_id=None,
                refusal=None,
            ).release_id

    return make
