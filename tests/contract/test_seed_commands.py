"""The seed document's three commands, run as it writes them: from a database of judgements to a policy that answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from preceptor.demo.cases import load_cases
from preceptor.demo.corrections import compose_correction

BACKEND = Path(__file__).parents[2] / "backend"


def _run(words: list[str], *, home: Path, cwd: Path = BACKEND) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "DATABASE_URL" and not k.startswith("PRECEPTOR_")}
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=environment | {"PRECEPTOR_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture
def judged(engine: sa.Engine) -> sa.Engine:
    """Preferences and ratings written by plain SQL against the seed document's schema."""
    poor = "You will be completely fine and there is no risk at all, so nothing has to be done about it."
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO users (id) VALUES (1), (2)")
        for index, case in enumerate(load_cases()[:24]):
            good = compose_correction(case, seed=index) or case.advice
            first = {"id": f"p{index}", "prompt": case.prompt, "good": good, "poor": poor, "who": 1 + index % 2}
            a_is_good = index % 2 == 0
            connection.execute(
                sa.text(
                    "INSERT INTO rlhf_preferences (preference_id, prompt, response_a, response_b, preferred, "
                    "clinician_id) VALUES (:id, :prompt, :a, :b, :preferred, :who)"
                ),
                first
                | {
                    "a": good if a_is_good else poor,
                    "b": poor if a_is_good else good,
                    "preferred": "a" if a_is_good else "b",
                },
            )
            for rating, text in ((5, good), (2, poor)):
                connection.execute(
                    sa.text(
                        "INSERT INTO rlhf_feedback (feedback_id, session_id, agent_name, user_query, agent_response, "
                        "rating, clinician_id) VALUES (:fid, 's', 'prescription_agent', :prompt, :text, :rating, :who)"
                    ),
                    first | {"fid": f"f{index}-{rating}", "text": text, "rating": rating},
                )
    return engine


def test_the_three_commands_lead_from_judgements_to_a_policy_that_answers(
    judged: sa.Engine, database_url: str, tmp_path: Path
) -> None:
    work = tmp_path / "rlhf"
    dataset, reward, policy = work / "data/preferences.jsonl", work / "models/reward_model", work / "models/ppo_model"
    home = tmp_path / "home"

    prepared = _run(
        ["-m", "app.rlhf.prepare_dataset", "--feedback-db", database_url, "--output", str(dataset)], home=home
    )
    assert prepared.returncode == 0, prepared.stderr
    rows = [json.loads(line) for line in dataset.read_text().splitlines()]
    assert len(rows) >= 24
    assert all(set(row) == {"prompt", "chosen", "rejected", "metadata"} for row in rows)
    planted = {one.value for case in load_cases()[:24] for one in case.identifiers}
    assert planted
    assert [value for value in planted if value in dataset.read_text()] == []

    trained = _run(
        [
            *("-m", "app.rlhf.train_reward_model", "--base-model", "bert-base-uncased", "--dataset", str(dataset)),
            *("--output", str(reward), "--epochs", "3", "--batch-size", "16"),
        ],
        home=home,
    )
    assert trained.returncode == 0, trained.stderr
    assert (reward / "preceptor.json").is_file()

    # as a plain script, with underscores: both are promised; the last two flags only keep the test short
    improved = _run(
        [
            *("app/rlhf/train_ppo.py", "--base_model", "gpt2", "--reward_model", str(reward), "--output", str(policy)),
            *("--epochs", "4", "--max-updates", "1", "--max-new-tokens", "8"),
        ],
        home=home,
    )
    assert improved.returncode == 0, improved.stderr

    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(policy), AutoTokenizer.from_pretrained(policy)
    ids = tokenizer("What should I check before metformin?", return_tensors="pt")
    assert model.generate(**ids, max_new_tokens=4, do_sample=False).shape[1] > ids["input_ids"].shape[1]


@pytest.mark.parametrize(
    ("words", "said"),  # one a command as its own process; tests/commands/test_bad_input.py has the others
    [
        (["prepare_dataset", "--feedback-db", "postgresql://u:hunter2secret@127.0.0.1:9/none"], "127.0.0.1"),
        (["train_reward_model", "--dataset", "{no_chosen}"], "chosen"),
        (["train_ppo", "--reward-model", "missing-folder"], "missing-folder"),
    ],
)
def test_bad_input_ends_with_one_sentence_and_publishes_nothing(words: list[str], said: str, tmp_path: Path) -> None:
    row = '{"prompt": "p", "chosen": "good answer", "rejected": "bad answer", "metadata": {}}\n'
    no_chosen = tmp_path / "no_chosen.jsonl"
    no_chosen.write_text(row + '{"prompt": "p", "rejected": "r"}\n')
    words = [word.format(no_chosen=no_chosen) for word in words]
    output = tmp_path / "out"
    result = _run(["-m", f"app.rlhf.{words[0]}", *words[1:], "--output", str(output)], home=tmp_path / "home")
    assert result.returncode != 0
    last = [line for line in result.stderr.strip().splitlines() if line.strip()][-1]
    assert said in last
    assert "Traceback" not in result.stderr
    assert "hunter2secret" not in result.stderr + result.stdout
    assert not output.exists()
