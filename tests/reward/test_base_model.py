"""Which base model the reward stage starts from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from preceptor.artifacts.store import ArtifactStore
from preceptor.errors import ModelError
from preceptor.reward.config import RewardConfig
from preceptor.reward.run import run
from preceptor.settings import Settings
from preceptor.stage import StageContext


@pytest.mark.parametrize(("given", "used"), [(None, "configured-encoder"), ("given-encoder", "given-encoder")])
def test_the_configured_base_model_is_used_unless_one_is_given(
    given: str | None, used: str, engine: sa.Engine, settings: Settings, store: ArtifactStore, tmp_path: Path
) -> None:
    rows = [
        {"prompt": f"Q{n}", "chosen": "See a nurse today.", "rejected": f"No {n}", "metadata": {}} for n in range(8)
    ]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    configured = settings.model_copy(update={"reward_model": "configured-encoder"})
    with pytest.raises(ModelError, match=used):  # neither is installed: the error names the one that was looked for
        run(RewardConfig(dataset=str(pairs), base_model=given), StageContext(configured, engine, store))
