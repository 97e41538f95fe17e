"""Nothing leaves this machine unless it says, and can show, that all of it is de-identified."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from preceptor.artifacts.store import Artifact, ArtifactStore
from preceptor.cloud.gate import require_artifact_deidentified, require_deidentified, require_file_deidentified
from preceptor.errors import GateRefused
from preceptor.files.atomic import file_digest
from preceptor.settings import Settings

GREEN: dict[str, Any] = {"records": 3, "scrubbed": 3, "recognizers": {"v2": 3}, "fail_closed": True}
Make = Callable[..., Artifact]


def test_a_dataset_that_was_cleaned_here_may_go() -> None:
    require_deidentified({**GREEN, "share_scrubbed": 1.0}, "dataset-1", scrubber="v2")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (None, "does not say"),
        ({}, "does not say"),
        ("green", "does not say"),
        ({**GREEN, "records": "3"}, "does not say"),
        ({**GREEN, "fail_closed": "yes"}, "does not say"),
        ({**GREEN, "scrubbed": 2}, "from 2 of its 3 records"),
        ({**GREEN, "recognizers": {"v2": 2}}, "records"),
        ({**GREEN, "records": 0, "scrubbed": 0, "recognizers": {}}, "of its 0 records"),
        ({**GREEN, "fail_closed": False}, "failed on may be in it"),
        ({**GREEN, "recognizers": {"v1": 1, "v2": 2}}, "cleaned by the scrubber v1, and this is v2"),
    ],
)
def test_a_dataset_that_says_less_stays(said: Any, reason: str) -> None:
    with pytest.raises(GateRefused, match=reason) as refused:
        require_deidentified(said, "dataset-1", scrubber="v2")
    assert "preceptor prepare" in refused.value.message


def test_a_model_goes_only_with_the_datasets_it_was_made_from(
    home: Settings, make_dataset: Make, make_child: Make
) -> None:
    store = ArtifactStore(home.artifacts_dir)
    green, silent = make_dataset(home), make_dataset(home, None)
    reward = make_child(home, "reward_model", [green.id])
    require_artifact_deidentified(make_child(home, "policy", [reward.id], text='{"a": 1}'), store)
    for parents in ([reward.id, silent.id], [silent.id, reward.id]):
        mixed = make_child(home, "policy", parents, text=json.dumps(parents))
        with pytest.raises(GateRefused, match=silent.id):
            require_artifact_deidentified(mixed, store)


def test_a_model_of_unknown_descent_stays(home: Settings, make_child: Make) -> None:
    store = ArtifactStore(home.artifacts_dir)
    with pytest.raises(GateRefused, match="not known which dataset"):
        require_artifact_deidentified(make_child(home, "reward_model", []), store)
    lost = make_child(home, "reward_model", ["dataset-0123456789abcdef"], text='{"c": 1}')
    with pytest.raises(GateRefused, match="dataset-0123456789abcdef, which is not in"):
        require_artifact_deidentified(lost, store)


def test_a_file_goes_only_when_a_manifest_vouches_for_its_very_content(tmp_path: Path) -> None:
    from preceptor.privacy.scrub import SCRUBBER_VERSION

    file = tmp_path / "preferences.jsonl"
    file.write_text('{"prompt": "a"}\n')
    with pytest.raises(GateRefused, match="no manifest"):
        require_file_deidentified(file)
    manifest = {
        "files": {file.name: {"sha256": file_digest(file)}},
        "deidentification": {**GREEN, "recognizers": {SCRUBBER_VERSION: 3}},
    }
    (tmp_path / "other.manifest.json").write_text('{"files": ')  # half-written, it vouches for nothing
    with pytest.raises(GateRefused, match="no manifest"):
        require_file_deidentified(file)
    (tmp_path / "preferences.jsonl.manifest.json").write_text(json.dumps(manifest))
    require_file_deidentified(file)
    file.write_text('{"prompt": "another"}\n')
    with pytest.raises(GateRefused, match="no manifest"):
        require_file_deidentified(file)
