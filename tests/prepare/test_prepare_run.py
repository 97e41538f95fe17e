"""A dataset holds what may be learned from, says which judgements it holds, and is the same every time."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from preceptor.collect.consent import withdraw_consent
from preceptor.curate.config import CurateConfig
from preceptor.curate.run import run as curate
from preceptor.db.engine import session_scope
from preceptor.errors import DataError
from preceptor.prepare.config import PrepareConfig
from preceptor.prepare.deidentification import deidentification
from preceptor.prepare.run import run
from preceptor.privacy.scrub import SCRUBBER_VERSION
from preceptor.stage import StageContext

Fill = Callable[..., None]
Sql = Callable[..., list[Any]]


def rows(context: StageContext, artifact_id: str | None, name: str = "preferences.jsonl") -> list[dict[str, Any]]:
    assert artifact_id is not None
    return [json.loads(line) for line in (context.store.path(artifact_id) / name).read_text().splitlines()]


def test_a_dataset_has_its_files_and_no_identifier(context: StageContext, fill: Fill) -> None:
    from datasets import load_from_disk

    fill()
    curate(CurateConfig(), context)
    result = run(PrepareConfig(), context)
    folder = context.store.open(str(result.artifact_id), verify=True).path
    content = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert not [word for word in (b"Wilhelmina", b"Achterberg", b"5512098", b"867-5309") if word in content]
    pairs = rows(context, result.artifact_id)
    assert all(list(row) == ["prompt", "chosen", "rejected", "metadata"] for row in pairs)
    assert len(pairs) == result.metrics["pairs"] == 16
    loaded = load_from_disk(str(folder / "dataset"))
    assert {name: len(split) for name, split in loaded.items()} == {
        name: sum(row["metadata"]["split"] == name for row in pairs) for name in loaded
    }
    assert {"train", "test"} <= set(loaded)


def test_all_pairs_of_one_prompt_are_in_one_split(context: StageContext, fill: Fill) -> None:
    fill()
    curate(CurateConfig(), context)
    result = run(PrepareConfig(), context)
    by_prompt: dict[str, set[str]] = {}
    for row in rows(context, result.artifact_id):
        by_prompt.setdefault(row["prompt"], set()).add(row["metadata"]["split"])
    assert len(by_prompt) == 8
    assert all(len(splits) == 1 for splits in by_prompt.values())
    listed = {row["prompt"]: row["split"] for row in rows(context, result.artifact_id, "prompts.jsonl")}
    assert listed == {prompt: next(iter(splits)) for prompt, splits in by_prompt.items()}


def test_the_same_judgements_make_the_same_artifact(context: StageContext, fill: Fill) -> None:
    fill()
    curate(CurateConfig(), context)
    assert run(PrepareConfig(), context).artifact_id == run(PrepareConfig(), context).artifact_id


def test_members_name_every_judgement_with_its_revision(context: StageContext, fill: Fill, sql: Sql) -> None:
    fill(prompts=3)
    curate(CurateConfig(), context)
    result = run(PrepareConfig(), context)
    members = sql(
        "SELECT source_id, source_revision, split FROM dataset_members WHERE artifact_id = :a", a=result.artifact_id
    )
    assert {member[0] for member in members} == {f"pref_{p}_{c}" for p in (1, 2, 3) for c in (1, 2)}
    assert {member[1] for member in members} == {1}
    assert len(rows(context, result.artifact_id, "sources.jsonl")) == len(members)
    run(PrepareConfig(), context)
    assert sql("SELECT count(*) FROM dataset_members")[0][0] == len(members)


def test_what_is_withdrawn_after_curation_stays_out(context: StageContext, fill: Fill, sql: Sql) -> None:
    fill()
    curate(CurateConfig(), context)
    sql("UPDATE rlhf_preferences SET withdrawn_at = now() WHERE preference_id = 'pref_1_1'")
    with session_scope(context.engine) as session:
        withdraw_consent(session, 2)
    result = run(PrepareConfig(), context)
    sources = {name for row in rows(context, result.artifact_id) for name in row["metadata"]["sources"]}
    assert sources == {f"preference:pref_{p}_1:1" for p in range(2, 9)}


def test_ties_lie_apart_and_leave_with_their_consent(context: StageContext, fill: Fill, sql: Sql) -> None:
    from datasets import load_from_disk

    fill(clinicians=3)
    sql("UPDATE rlhf_preferences SET preferred = NULL, outcome = 'tie' WHERE clinician_id = 3")
    curate(CurateConfig(), context)
    result = run(PrepareConfig(), context)
    artifact = context.store.open(str(result.artifact_id), verify=True)
    ties = rows(context, artifact.id, "ties.jsonl")
    assert {row["metadata"]["label"] for row in ties} == {0.5}
    assert "ties.jsonl" in artifact.files
    assert result.metrics["ties"] == len(ties) == 8
    assert result.metrics["pairs"] == 16
    splits = {row["prompt"]: row["split"] for row in rows(context, artifact.id, "prompts.jsonl")}
    assert all(row["metadata"]["split"] == splits[row["prompt"]] for row in ties)
    tied = {f"pref_{p}_3" for p in range(1, 9)}
    members = sql("SELECT source_id FROM dataset_members WHERE artifact_id = :a", a=artifact.id)
    assert tied < {member[0] for member in members}
    listed = load_from_disk(str(artifact.path / "dataset"))
    assert sum(len(split) for split in listed.values()) == 16

    sql("UPDATE rlhf_preferences SET withdrawn_at = now() WHERE preference_id = 'pref_1_3'")
    fewer = run(PrepareConfig(), context)
    assert fewer.metrics["ties"] == 7
    with session_scope(context.engine) as session:
        withdraw_consent(session, 3)
    none = context.store.open(str(run(PrepareConfig(), context).artifact_id))
    assert (none.path / "ties.jsonl").read_bytes() == b""
    assert not tied & {row["source_id"] for row in rows(context, none.id, "sources.jsonl")}
    assert (none.path / "preferences.jsonl").read_bytes() == (artifact.path / "preferences.jsonl").read_bytes()


def test_simulated_clinicians_count_only_when_asked_for(context: StageContext, fill: Fill, sql: Sql) -> None:
    fill()
    sql("UPDATE users SET is_simulated = true WHERE id = 2")
    curate(CurateConfig(), context)
    assert run(PrepareConfig(), context).metrics["pairs"] == 8
    result = run(PrepareConfig(include_simulated=True), context)
    assert result.metrics["pairs"] == 16
    assert sum(row["metadata"]["is_simulated"] for row in rows(context, result.artifact_id)) == 8


def test_one_agent_can_be_prepared_alone(context: StageContext, fill: Fill, sql: Sql) -> None:
    fill()
    sql("UPDATE rlhf_preferences SET agent_name = 'triage' WHERE clinician_id = 1")
    curate(CurateConfig(), context)
    assert run(PrepareConfig(agent_name="triage"), context).metrics["pairs"] == 8


def test_nothing_to_learn_from_says_why(context: StageContext, fill: Fill, sql: Sql) -> None:
    with pytest.raises(DataError, match="curated yet: no judgement is collected"):
        run(PrepareConfig(), context)
    fill()
    with pytest.raises(DataError, match="curated yet: run `preceptor curate`"):
        run(PrepareConfig(), context)
    sql("UPDATE users SET is_simulated = true")
    curate(CurateConfig(), context)
    with pytest.raises(DataError, match=r"16 clear.*--include-simulated"):
        run(PrepareConfig(), context)
    sql("UPDATE users SET is_simulated = false")
    sql("UPDATE rlhf_preferences SET preferred = NULL, outcome = 'tie'")
    curate(CurateConfig(), context)
    with pytest.raises(DataError, match="16 tie"):
        run(PrepareConfig(), context)
    assert not (context.store.root / "dataset").exists() or not list((context.store.root / "dataset").glob("[!.]*"))


def test_pairs_for_one_prompt_only_are_refused(context: StageContext, fill: Fill) -> None:
    fill(prompts=1)
    curate(CurateConfig(), context)
    with pytest.raises(DataError, match="1 prompt only"):
        run(PrepareConfig(), context)


def test_neither_is_acceptable_lands_in_the_labels(context: StageContext, fill: Fill, sql: Sql) -> None:
    fill()
    sql("UPDATE rlhf_preferences SET preferred = NULL, outcome = 'both_bad' WHERE preference_id = 'pref_1_1'")
    curate(CurateConfig(), context)
    labels = rows(context, run(PrepareConfig(), context).artifact_id, "unpaired.jsonl")
    assert [(row["completion"], row["label"]) for row in labels] == [
        ("Advice 1", False),
        ("Call [PHONE_1] for 1", False),
    ]


def test_a_dataset_says_what_removed_its_identifiers(context: StageContext, fill: Fill, sql: Sql) -> None:
    fill()
    curate(CurateConfig(), context)
    first = context.store.open(str(run(PrepareConfig(), context).artifact_id))
    said = json.loads((first.path / "deidentification.json").read_text())
    assert said == {
        "records": 16,
        "scrubbed": 16,
        "share_scrubbed": 1.0,
        "recognizers": {SCRUBBER_VERSION: 16},
        "fail_closed": True,
    }
    assert first.metadata["deidentification"] == {**said, "held_back": 0}
    sql("UPDATE curated_records SET scrubber_version = 'older' WHERE source_id = 'pref_1_1'")
    sql(
        "UPDATE curated_records SET status = 'held', prompt = NULL, response_a = NULL, response_b = NULL"
        " WHERE source_id = 'pref_1_2'"
    )
    second = context.store.open(str(run(PrepareConfig(), context).artifact_id))
    said = json.loads((second.path / "deidentification.json").read_text())
    assert second.id != first.id
    assert said["recognizers"] == {SCRUBBER_VERSION: 14, "older": 1}
    assert second.metadata["deidentification"]["held_back"] == 1


def test_records_that_nothing_cleaned_are_told_apart() -> None:
    assert deidentification({"v1": 3, None: 1}) == {
        "records": 4,
        "scrubbed": 3,
        "share_scrubbed": 0.75,
        "recognizers": {"v1": 3},
        "fail_closed": False,
    }
    assert deidentification({})["fail_closed"] is False
