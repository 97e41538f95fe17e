from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from preceptor.errors import ModelError
from preceptor.gateway import local
from preceptor.gateway.backends import Sampling, Source
from preceptor.gateway.local import KEPT, LocalModels
from preceptor.release.document import Served
from preceptor.settings import Settings, load_settings

SAMPLING = Sampling(n=1, max_tokens=4, temperature=1.0, top_p=1.0, seed=0)


@pytest.fixture
def models(tmp_path: Path) -> LocalModels:
    settings: Settings = load_settings(home=tmp_path)
    return LocalModels(settings)


def served(folder: Path, digest: str = "d") -> Served:
    return Served(release_id="r", version=0, model=str(folder), digest=digest)


async def words(source: Source) -> str:
    return "".join([piece.text async for piece in source.stream("What helps?", SAMPLING)])


def test_many_first_requests_load_the_model_once(
    models: LocalModels, small_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    load = local.load

    def counted(served: Served, settings: Settings) -> local.Loaded:
        loads.append(served.model)
        return load(served, settings)

    monkeypatch.setattr(local, "load", counted)
    with ThreadPoolExecutor(4) as pool:
        sources = list(pool.map(lambda _: models.source(served(small_policy)), range(4)))
    assert len(loads) == 1
    assert len({asyncio.run(words(source)) for source in sources}) == 1


def test_the_answer_carries_the_digest_of_the_weights_really_used(models: LocalModels, small_policy: Path) -> None:
    assert models.source(served(small_policy, "as-registered")).digest != "as-registered"


def test_a_model_that_was_given_up_still_ends_its_answers(models: LocalModels, small_policy: Path) -> None:
    first = models.source(served(small_policy, "d0"))
    expected = asyncio.run(words(first))

    async def ask_then_crowd_out() -> str:
        pieces = first.stream("What helps?", SAMPLING)
        begun = await anext(pieces)
        for number in range(1, KEPT + 1):
            models.source(served(small_policy, f"d{number}"))
        return begun.text + "".join([piece.text async for piece in pieces])

    assert asyncio.run(ask_then_crowd_out()) == expected
    assert len(models._models) == KEPT


def test_a_missing_model_is_named(models: LocalModels) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        models.source(served(Path("nowhere")))
