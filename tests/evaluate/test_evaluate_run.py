from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from preceptor.artifacts.store import ArtifactStore
from preceptor.db.tables.lineage import ArtifactParent
from preceptor.errors import DataError, InputError, ModelError, PreceptorError, RunCanceled
from preceptor.evaluate.config import EvaluateConfig
from preceptor.evaluate.run import run
from preceptor.evaluate.win_rate import Verdict
from preceptor.gates import GateThresholds, check_gates
from preceptor.stage import StageContext


@pytest.fixture
def config(candidate: str, scorer_folder: Path, dataset: Path) -> EvaluateConfig:
    return EvaluateConfig(
        policy=candidate,
        reward_model=str(scorer_folder),
        dataset=str(dataset),
        max_new_tokens=6,
        dtype="float32",
    )


def read(store: ArtifactStore, artifact_id: str | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    folder = store.open(str(artifact_id), verify=True).path
    rows = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    return json.loads((folder / "report.json").read_text()), rows


def test_a_report_holds_every_measurement_and_its_origin(
    config: EvaluateConfig, context: StageContext, store: ArtifactStore
) -> None:
    result = run(config, context)
    report, rows = read(store, result.artifact_id)
    assert report["policy"] == config.policy
    assert report["judge"] == "reward_model"
    assert {row["prompt"] for row in rows} == {f"What about {t}?" for t in ("a rash", "fever", "lithium", "a cough")}
    assert report["win_rate"]["n"] == 4
    assert 0 <= report["win_rate"]["low"] <= report["win_rate"]["estimate"] <= report["win_rate"]["high"] <= 1
    assert report["kl"]["sequence_k1"] > 0
    assert report["safety"]["prompts"] >= 24
    assert report["reward_model"]["n"] == 4
    assert report["reward_model"]["length_only"] == 1.0
    assert sum(report["outcomes"].values()) == 4
    assert result.metrics["win_rate"] == report["win_rate"]["estimate"]
    with context.engine.connect() as connection:
        parents = connection.execute(sa.select(ArtifactParent.parent_id)).scalars().all()
    assert parents == [config.policy]
    page = (store.open(str(result.artifact_id)).path / "report.html").read_text()
    assert "Is the new agent better?" in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_gold_judge_of_other_clinicians_catches_a_policy_past_its_peak(
    config: EvaluateConfig, context: StageContext, store: ArtifactStore, trained: str, judged_by_two_panels: Path
) -> None:
    asked = config.model_copy(update={"policy": trained, "reward_model": str(judged_by_two_panels), "best_of": 3})
    report, _ = read(store, run(asked, context).artifact_id)
    assert report["gold"]["shared_raters"] == 0
    assert report["gold"]["raters"] >= 2
    assert report["gold"]["raters"] + report["gold"]["reward_model_raters"] == 8
    assert 0 <= report["gold"]["win_rate"]["low"] <= report["gold"]["win_rate"]["high"] <= 1
    assert report["gold"]["accuracy"]["n"] == 4
    along = report["along_training"]
    assert (along["published"], along["peak"]) == (10, 5)
    assert along["drop_in_se"] > 1
    assert [look["score"] for look in along["looks"]] == [0.0, 1.0, 2.0]  # the reward model saw nothing wrong
    gate = next(gate for gate in check_gates(report, GateThresholds()) if gate.name == "over-optimization")
    assert gate.refuses
    curve = report["frontier"]["best_of_n"]
    assert [point["n"] for point in curve] == [1, 2, 3]
    assert curve[0]["reward"]["estimate"] <= curve[1]["reward"]["estimate"] <= curve[2]["reward"]["estimate"]
    assert report["frontier"]["path"]["looks"][2]["kl"] == 10.0


def test_a_gold_judge_that_shares_a_clinician_with_the_reward_model_is_none(
    config: EvaluateConfig, context: StageContext, store: ArtifactStore, judged_by_two_panels: Path, tmp_path: Path
) -> None:
    model = tmp_path / "shared"
    shutil.copytree(judged_by_two_panels, model)
    facts = json.loads((model / "gold" / "report.json").read_text())
    facts["reward_model_raters"].append(facts["raters"][0])
    (model / "gold" / "report.json").write_text(json.dumps(facts))
    report, _ = read(store, run(config.model_copy(update={"reward_model": str(model)}), context).artifact_id)
    assert "shares 1 clinicians" in report["gold"]["not_measured"]
    failed = [gate.name for gate in check_gates(report, GateThresholds()) if gate.refuses]
    assert {"gold win rate", "gold judge", "over-optimization"} <= set(failed)


def test_a_judge_of_pairs_is_asked_in_both_orders(
    config: EvaluateConfig, context: StageContext, store: ArtifactStore
) -> None:
    def first(prompts: Sequence[str], one: Sequence[str], other: Sequence[str]) -> list[Verdict]:
        return ["first"] * len(prompts)

    report, _ = read(store, run(config, context, pair_judge=first).artifact_id)
    assert report["judge"] == "given"
    assert report["outcomes"] == {"wins": 0, "ties": 4, "losses": 0}
    assert report["order"]["first_place_wins"]["estimate"] == 1.0


def test_verdicts_of_people_on_pairs_are_the_judge_when_they_are_given(
    config: EvaluateConfig, context: StageContext, store: ArtifactStore, tmp_path: Path
) -> None:
    _, rows = read(store, run(config, context).artifact_id)
    lines = [
        {"prompt": row["prompt"], "first": row[one], "second": row[other], "preferred": preferred}
        for row in rows
        for one, other, preferred in (("candidate", "baseline", "first"), ("baseline", "candidate", "second"))
    ]
    path = tmp_path / "verdicts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report, _ = read(store, run(config.model_copy(update={"verdicts": str(path)}), context).artifact_id)
    assert (report["judge"], report["win_rate"]["estimate"]) == ("verdicts", 1.0)
    with pytest.raises(ValueError, match="not both"):
        EvaluateConfig(policy="p", reward_model="r", dataset="d", ratings="a", verdicts="b")


@pytest.mark.parametrize("wrong", ["reward_model", "dataset", "ratings", "verdicts"])
def test_what_cannot_be_judged_by_is_told_before_a_model_answers(
    wrong: str, config: EvaluateConfig, context: StageContext, policies: dict[str, Path], dataset: Path, tmp_path: Path
) -> None:
    table = tmp_path / "table.csv"
    table.write_text("prompt,rating\n")
    if wrong == "dataset":
        (dataset / "preferences.jsonl").unlink()
    given = {"reward_model": policies["one"], "dataset": dataset}.get(wrong, table)
    with pytest.raises(PreceptorError, match=r"is a policy|no file .*preferences\.jsonl|table\.csv, line 1"):
        run(config.model_copy(update={wrong: str(given)}), context)
    assert not (context.settings.home / "cache" / "answers").exists()


def test_red_lines_of_a_file_are_asked_and_neither_prompts_nor_answers_are_kept(
    config: EvaluateConfig, context: StageContext, store: ArtifactStore, tmp_path: Path
) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Forge note {i} for me"}) + "\n" for i in range(5)))
    asked = config.model_copy(update={"red_lines": str(path), "n_red_lines": 3, "measure_safety": False})
    artifact = run(asked, context).artifact_id
    report, _ = read(store, artifact)
    assert report["red_lines"]["prompts"] == 3
    assert sum(report["red_lines"]["candidate"].values()) == 3
    assert report["red_lines"]["safe_fall"]["low"] <= report["red_lines"]["safe_fall"]["estimate"]
    folder = store.open(str(artifact)).path
    assert not any("Forge note" in file.read_text() for file in folder.iterdir())
    with pytest.raises(InputError, match="There is no file"):
        run(asked.model_copy(update={"red_lines": str(tmp_path / "none")}), context)


def test_the_same_run_gives_the_same_artifact(config: EvaluateConfig, context: StageContext) -> None:
    assert run(config, context).artifact_id == run(config, context).artifact_id


def test_a_policy_against_itself_is_a_tie_at_distance_zero(
    config: EvaluateConfig, context: StageContext, store: ArtifactStore
) -> None:
    same = config.model_copy(update={"baseline": config.policy})
    report, _ = read(store, run(same, context).artifact_id)
    assert report["outcomes"] == {"wins": 0, "ties": 4, "losses": 0}
    assert report["win_rate"]["estimate"] == 0.5
    assert report["kl"]["sequence_k1"] == 0
    assert report["safety"]["new_critical"] == 0
    assert report["safety"]["safe_fall"]["estimate"] == 0


def test_a_given_judge_decides_the_win_rate_and_the_reward_model_is_shown_beside_it(
    config: EvaluateConfig, context: StageContext, store: ArtifactStore
) -> None:
    _, rows = read(store, run(config, context).artifact_id)
    ours = {row["candidate"] for row in rows}

    def judge(prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array([float(answer in ours) for answer in answers])

    report, _ = read(store, run(config, context, judge=judge).artifact_id)
    assert report["judge"] == "given"
    assert report["win_rate"]["estimate"] == 1.0
    assert report["reward_win_rate"] != report["win_rate"]


def test_ratings_by_people_are_the_judge_when_they_are_given(
    config: EvaluateConfig, context: StageContext, store: ArtifactStore, tmp_path: Path
) -> None:
    _, rows = read(store, run(config, context).artifact_id)
    ratings = tmp_path / "ratings.jsonl"
    lines = [{"prompt": r["prompt"], "response": r["candidate"], "rating": 2} for r in rows]
    lines += [{"prompt": r["prompt"], "response": r["baseline"], "rating": 4} for r in rows]
    ratings.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rated = config.model_copy(update={"ratings": str(ratings)})
    report, _ = read(store, run(rated, context).artifact_id)
    assert report["judge"] == "ratings"
    assert report["win_rate"]["estimate"] == 0.0
    ratings.write_text(json.dumps(lines[0]) + "\n")
    with pytest.raises(DataError, match="have no rating"):
        run(rated, context)


def test_prompts_that_were_trained_on_are_not_held_out(
    config: EvaluateConfig, context: StageContext, store: ArtifactStore, tmp_path: Path
) -> None:
    file = tmp_path / "held.jsonl"
    prompts = ["What about warfarin?", "Is a new question allowed?", "And another new one?"]
    file.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    report, rows = read(store, run(config.model_copy(update={"prompts": str(file)}), context).artifact_id)
    assert {row["prompt"] for row in rows} == set(prompts[1:])
    assert report["n_prompts"] == 2
    file.write_text(json.dumps({"prompt": prompts[0]}) + "\n")
    with pytest.raises(DataError, match="Only 0 held-out"):
        run(config.model_copy(update={"prompts": str(file)}), context)
    file.write_text('{"prompt": ')
    with pytest.raises(InputError, match="line 1"):
        run(config.model_copy(update={"prompts": str(file)}), context)


def test_nothing_is_measured_on_what_the_reward_model_learned_from(
    config: EvaluateConfig, context: StageContext, store: ArtifactStore, scorer_folder: Path, tmp_path: Path
) -> None:
    model = tmp_path / "trained-on-another-split"
    shutil.copytree(scorer_folder, model)
    (model / "prompts.jsonl").write_text(json.dumps({"prompt": "What about fever?", "split": "train"}) + "\n")
    report, rows = read(store, run(config.model_copy(update={"reward_model": str(model)}), context).artifact_id)
    assert "What about fever?" not in {row["prompt"] for row in rows}
    assert (report["n_prompts"], report["reward_model"]["n"]) == (3, 3)


def test_a_model_of_another_kind_is_named(config: EvaluateConfig, context: StageContext, scorer_folder: Path) -> None:
    with pytest.raises(ModelError):
        run(config.model_copy(update={"reward_model": config.policy}), context)
    with pytest.raises(ModelError):
        run(config.model_copy(update={"policy": str(scorer_folder)}), context)


def test_a_canceled_run_publishes_nothing(config: EvaluateConfig, context: StageContext, store: ArtifactStore) -> None:
    from dataclasses import replace

    with pytest.raises(RunCanceled):
        run(config, replace(context, is_canceled=lambda: True))
    assert not (store.root / "report").exists()
