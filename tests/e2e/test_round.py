"""The whole round through `preceptor demo`, small: interrupted with a killed worker, resumed, and nothing leaked."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from preceptor.demo.cases import load_cases
from preceptor.demo.panel import PLANTED_IN_COMMENTS

STAGES = ("collect", "curate", "prepare", "reward", "policy", "evaluate", "release", "experiment", "monitor")
SMALL = (
    *("--cases", "24", "--heldout", "6", "--max-new-tokens", "24", "--ppo-minutes", "0.2"),
    *("--questions-per-clinician", "1", "--duels-per-clinician", "2", "--no-serve"),
)


def _start(home: Path, log: Path) -> subprocess.Popen[bytes]:
    environment = {
        k: v
        for k, v in os.environ.items()
        if k not in {"DATABASE_URL", "OMP_NUM_THREADS"} and not k.startswith("PRECEPTOR_")
    }
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "preceptor", "demo", *SMALL],
            env=environment | {"PRECEPTOR_HOME": str(home)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # what a shell starts in the background ignores Ctrl-C, and its children inherit that
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )


def _finished_steps(home: Path) -> set[str]:
    state = home / "demo" / "state.json"
    return set(json.loads(state.read_text())["steps"]) if state.exists() else set()


def _wait_for(condition: object, demo: subprocess.Popen[bytes], log: Path, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert demo.poll() is None, f"the demo ended early:\n{log.read_text()[-3000:]}"
        assert time.monotonic() < deadline, f"too slow:\n{log.read_text()[-3000:]}"
        time.sleep(0.5)


def _worker_of(demo: subprocess.Popen[bytes]) -> psutil.Process:
    children = psutil.Process(demo.pid).children(recursive=True)
    return next(child for child in children if child.cmdline()[-2:] == ["preceptor", "worker"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A demo whose worker was killed inside the round and that was interrupted and started again."""
    folder = tmp_path_factory.mktemp("demo")
    folder.chmod(0o755)
    home, log = folder / "home", folder / "demo.log"
    demo = _start(home, log)
    _wait_for(lambda: "collect" in _finished_steps(home), demo, log, seconds=900)
    time.sleep(4)
    _worker_of(demo).send_signal(signal.SIGKILL)
    time.sleep(2)
    demo.send_signal(signal.SIGINT)
    assert demo.wait(timeout=240) == 130
    again = _start(home, log)
    assert again.wait(timeout=1500) == 0, log.read_text()[-4000:]
    return home, log.read_text()


def test_the_round_ends_after_a_kill_and_an_interruption_and_names_all_nine_stages(finished: tuple[Path, str]) -> None:
    home, log = finished
    assert _finished_steps(home) == {"answers", "collect", "round", "held out", "experiment", "monitor"}
    table = log[log.rindex("One round") :]
    assert [stage for stage in STAGES if not re.search(rf"^\W*{stage}\b", table, re.MULTILINE)] == []


def test_nothing_acknowledged_was_lost_or_doubled(finished: tuple[Path, str]) -> None:
    home, _ = finished
    steps = json.loads((home / "demo" / "state.json").read_text())["steps"]
    sent = sum(steps["collect"]["counts"].values())
    curated = steps["round"]["stages"]["curate"]["metrics"]
    answered = [name for name, _ in steps["answers"]["interactions"]]
    assert len(set(answered)) == len(answered) == 48
    # a correction that came with stars is a row of its own, so there are at least as many rows as requests
    assert curated["clear"] + curated["held"] + curated["excluded"] >= sent


def test_the_policy_loads_with_plain_transformers_and_answers(finished: tuple[Path, str]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    home, _ = finished
    stages = json.loads((home / "demo" / "state.json").read_text())["steps"]["round"]["stages"]
    kind, digest = stages["policy"]["artifact_id"].rsplit("-", 1)
    folder = home / "artifacts" / kind / digest
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("What should I check before metformin?", return_tensors="pt")
    out = model.generate(**ids, max_new_tokens=5, do_sample=False)
    assert out.shape[1] > ids["input_ids"].shape[1]


def test_no_planted_identifier_is_in_any_artifact_log_or_report(finished: tuple[Path, str]) -> None:
    home, log = finished
    planted = {one.value for case in load_cases()[:24] for one in case.identifiers}
    planted |= {one.value for one in PLANTED_IN_COMMENTS}
    searched = [p for p in home.rglob("*") if p.is_file() and p.relative_to(home).parts[0] not in {"pg", "models"}]
    assert any(p.suffix == ".jsonl" for p in searched)
    for path in searched:
        content = path.read_bytes()
        assert [value for value in planted if value.encode() in content] == [], path
    assert [value for value in planted if value in log] == []


def test_no_pickle_is_on_disk(finished: tuple[Path, str]) -> None:
    home, _ = finished
    found = [p for p in home.rglob("*") if p.suffix in {".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt"}]
    assert [p for p in found if "pg" not in p.relative_to(home).parts] == []


def test_the_report_stands_alone(finished: tuple[Path, str]) -> None:
    home, _ = finished
    page = (home / "report.html").read_text()
    assert "<svg" in page
    assert "<script" not in page
    assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?https?:", page)
    assert "simulated" in page
