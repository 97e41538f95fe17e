"""A real PostgreSQL for every test: embedded, migrated once, emptied before each test that asks for it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from preceptor.artifacts.store import ArtifactStore
from preceptor.settings import Settings, load_settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models lose more to waiting threads than they gain

_KEPT = {"preceptor_alembic_version"}


@pytest.fixture(scope="session")
def database_home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="preceptor-test-"))
    home.chmod(0o755)
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_engine(database_home: Path) -> Iterator[sa.Engine]:
    from preceptor.db.engine import connect

    engine = connect(load_settings(home=database_home, database_url=None))
    yield engine
    engine.dispose()


@pytest.fixture
def engine(migrated_engine: sa.Engine) -> sa.Engine:
    """The shared engine with every table empty."""
    with migrated_engine.begin() as connection:
        names = [name for name in sa.inspect(connection).get_table_names() if name not in _KEPT]
        # deleting a few rows takes 10 ms where TRUNCATE, which makes new files for every table, takes half a second
        probes = (f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM {name})" for name in names)
        filled = connection.exec_driver_sql(" UNION ALL ".join(probes)).scalars().all()
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")  # no foreign keys, no triggers
        for name in filled:
            connection.exec_driver_sql(f"DELETE FROM {name}")
        connection.exec_driver_sql(
            "SELECT setval(oid::regclass, 1, false) FROM pg_class "
            "WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace"
        )
    return migrated_engine


@pytest.fixture
def database_url(engine: sa.Engine) -> str:
    """The address of the test database, as a person would write it."""
    return engine.url.render_as_string(hide_password=False).replace("postgresql+psycopg", "postgresql")


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """Settings with a fresh home folder on the test database."""
    return load_settings(home=tmp_path / "home", database_url=database_url)


@pytest.fixture
def store(settings: Settings) -> ArtifactStore:
    return ArtifactStore(settings.artifacts_dir)


@pytest.fixture
def small_disk() -> Callable[[int], AbstractContextManager[None]]:
    """`with small_disk(1000):` no file grows beyond 1000 bytes, as on a disk with no more room."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))  # Python ignores the signal, so writing fails
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))

    return limited


_TINY_TEXTS = (
    "Seek urgent care if the chest pain is sudden.",
    "Check allergies, kidney function and other medicines before the first dose.",
    "What should I do about a fever in a small child? Call the doctor when it does not settle.",
)


def _tiny_policy(folder: Path, *, kind: str) -> Path:
    """A policy of some 20,000 random weights with a trained byte-level tokenizer: fast, and real in every part."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<unk>", "<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TINY_TEXTS, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unk>")
    words = len(wrapped)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: LlamaForCausalLM | GPT2LMHeadModel
        if kind == "llama":
            model = LlamaForCausalLM(
                LlamaConfig(
                    vocab_size=words,
                    hidden_size=32,
                    intermediate_size=64,
                    num_hidden_layers=3,
                    num_attention_heads=4,
                    num_key_value_heads=2,
                    max_position_embeddings=256,
                    eos_token_id=1,
                    bos_token_id=None,
                    tie_word_embeddings=True,
                    initializer_range=0.2,
                )
            )
        else:
            model = GPT2LMHeadModel(
                GPT2Config(
                    vocab_size=words,
                    n_embd=32,
                    n_layer=3,
                    n_head=4,
                    n_positions=256,
                    eos_token_id=1,
                    bos_token_id=1,
                    initializer_range=0.2,
                )
            )
    model.generation_config.eos_token_id = 1
    model.save_pretrained(folder)
    wrapped.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny LLaMA-type policy without a chat template and without a pad token."""
    return _tiny_policy(tmp_path_factory.mktemp("tiny-llama"), kind="llama")


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny GPT-2-type policy."""
    return _tiny_policy(tmp_path_factory.mktemp("tiny-gpt2"), kind="gpt2")


def _tiny_classifier(folder: Path, *, labels: int) -> Path:
    """A real BERT classifier of random weights, with the prompts that a reward model hands on."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from preceptor.modeling.resolve import resolve_model

    tokenizer = AutoTokenizer.from_pretrained(resolve_model("all-MiniLM-L6-v2"))
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=labels,
        initializer_range=0.5,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    rows = [{"prompt": f"Question number {i} about a fever", "split": "train"} for i in range(8)]
    rows.append({"prompt": "kept back", "split": "test"})
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="session")
def tiny_reward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny reward model."""
    return _tiny_classifier(tmp_path_factory.mktemp("tiny-reward"), labels=1)


@pytest.fixture(scope="session")
def two_outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny classifier with two outputs, which is no reward model."""
    return _tiny_classifier(tmp_path_factory.mktemp("two-outputs"), labels=2)
