"""Nothing in, one whole round out: judgements collected, a policy trained and judged, released or refused, reported."""

from __future__ import annotations

import contextlib
import secrets
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from rich.console import Console

from preceptor.artifacts.store import ArtifactStore
from preceptor.db.engine import connect
from preceptor.demo import collecting, trial
from preceptor.demo.accounts import ADMIN, People, open_accounts
from preceptor.demo.answers import Answer, answer_cases
from preceptor.demo.cases import Case, load_cases
from preceptor.demo.config import DemoConfig
from preceptor.demo.display import Display
from preceptor.demo.judgements import Shown, plan
from preceptor.demo.processes import Installation, installation
from preceptor.demo.report import write_report
from preceptor.demo.state import DemoState
from preceptor.demo.training import run_round
from preceptor.demo.verdict import judge_pairs
from preceptor.files.atomic import write_atomic
from preceptor.monitor.config import MonitorConfig
from preceptor.runs import run_stage_now
from preceptor.settings import Settings
from preceptor.stage import Progress

# step -> seconds on two cores, for the bar; the order is the order of the steps
EXPECTED = {"start": 20, "answers": 100, "collect": 30, "round": 480, "held out": 60, "experiment": 90, "monitor": 10}


@dataclass(frozen=True)
class Demo:
    """What every step needs."""

    config: DemoConfig
    settings: Settings
    engine: sa.Engine
    state: DemoState
    display: Display
    people: People
    running: Installation


def run_demo(config: DemoConfig, settings: Settings) -> None:
    """Run the demo, or go on with one that was interrupted; ends with the report and, if asked, a running server."""
    console = Console()
    display = Display(console, EXPECTED)
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    engine = connect(settings)
    state = DemoState(settings.home / "demo", config)
    try:
        with contextlib.ExitStack() as stack:
            with display.running():
                with display.step("start") as progress:
                    _prepare_model(settings, progress)
                    people = open_accounts(engine)
                    running = stack.enter_context(installation(settings, engine, port=config.port))
                demo = Demo(config, settings, engine, state, display, people, running)
                for name, step in STEPS:
                    _once(demo, name, step)
            report = _finish(demo)
            _say_goodbye(demo, report)
            if config.serve:
                _serve_until_stopped(demo)
    finally:
        engine.dispose()


def _once(demo: Demo, name: str, step: Callable[[Demo, Progress], dict[str, Any]]) -> None:
    if demo.state.done(name):
        demo.display.skip(name)
        demo.display.say(f"[green]done[/]  {name} (from before)")
        return
    began = time.monotonic()
    with demo.display.step(name) as progress:
        result = step(demo, progress)
    took = time.monotonic() - began
    demo.state.finish(name, {**result, "seconds": round(took, 1)})
    demo.display.say(f"[green]done[/]  {result['said']}  [dim]{took:.0f} s[/]")


def _prepare_model(settings: Settings, progress: Progress) -> None:
    from preceptor.modeling.resolve import resolve_model

    for index, name in enumerate((settings.policy_model, settings.reward_model)):
        resolve_model(name, models_dir=settings.models_dir)
        progress(index + 1, 2, {})


def _cases(demo: Demo, *, heldout: bool) -> list[Case]:
    cases = load_cases(heldout=heldout)
    return cases[: demo.config.heldout if heldout else demo.config.cases]


def _answers(demo: Demo, progress: Progress) -> dict[str, Any]:
    cases = _cases(demo, heldout=False)
    answers = answer_cases(
        cases,
        demo.config,
        model=demo.settings.policy_model,
        models_dir=demo.settings.models_dir,
        n=2,
        seed=demo.config.seed,
        progress=progress,
    )
    flat = [answer for pair in answers for answer in pair]
    stored = collecting.store_answers(
        demo.running.url,
        demo.people,
        flat,
        demo.config,
        label=lambda i: f"{flat[i].case.id}:{i % 2}",
        progress=progress,
    )
    # only ids are kept: what the model said may repeat identifiers, and belongs in the raw tables alone
    interactions = [[shown.interaction_id, shown.answer.case.id] for shown in stored]
    return {"said": f"the base model answered {len(cases)} cases twice", "interactions": interactions}


def _collect(demo: Demo, progress: Progress) -> dict[str, Any]:
    cases = {case.id: case for case in _cases(demo, heldout=False)}
    kept = [(name, cases[case]) for name, case in demo.state.result("answers")["interactions"]]
    stored = collecting.read_answers(demo.running.url, demo.people, kept)
    pairs = list(zip(stored[0::2], stored[1::2], strict=True))
    judgements = plan(pairs, raters_per_case=demo.config.raters_per_case, seed=demo.config.seed)
    counts = collecting.submit(demo.running.url, demo.people, judgements, progress=progress)
    said = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    return {"said": f"the simulated panel judged over HTTP: {said}", "counts": dict(counts)}


def _round(demo: Demo, progress: Progress) -> dict[str, Any]:
    key_file = demo.state.folder / "round.key"
    if not key_file.exists():
        write_atomic(key_file, f"demo:{secrets.token_hex(4)}")
    # the key outlives an interruption and a failure: the next start goes on with the same round
    result = run_round(demo.engine, demo.settings, demo.config, key=key_file.read_text(), progress=progress)
    released = result["stages"]["release"]
    return {"said": f"round {result['round_id']}: {released['summary']}", **result}


def _held_out(demo: Demo, progress: Progress) -> dict[str, Any]:
    cases = _cases(demo, heldout=True)
    store = ArtifactStore(demo.settings.artifacts_dir)
    policy = str(store.path(demo.state.result("round")["stages"]["policy"]["artifact_id"]))
    sides: dict[str, list[Answer]] = {}
    for side, model in (("candidate", policy), ("baseline", demo.settings.policy_model)):
        answered = answer_cases(
            cases,
            demo.config,
            model=model,
            models_dir=demo.settings.models_dir,
            n=1,
            seed=demo.config.seed + 100,
            progress=progress,
        )
        sides[side] = [one[0] for one in answered]
    verdict = judge_pairs(list(zip(sides["candidate"], sides["baseline"], strict=True)), seed=demo.config.seed)
    rows = [
        {"case": case.id, "candidate": new.text, "baseline": old.text, "finished": [new.finished, old.finished]}
        for case, new, old in zip(cases, sides["candidate"], sides["baseline"], strict=True)
    ]
    said = f"on {len(cases)} held-out cases the panel's rubric prefers the trained policy {verdict.win_rate.text()}"
    return {"said": said, "verdict": asdict(verdict), "pairs": rows}


def _experiment(demo: Demo, progress: Progress) -> dict[str, Any]:
    if demo.state.result("round")["state"] == "refused":
        reason = demo.state.result("round")["stages"]["release"]["summary"]
        said = "no A/B test, because the release was refused; the base model goes on answering"
        return {"said": said, "decision": {"verdict": "refused", "reason": reason}}
    cases = {case.id: case for case in _cases(demo, heldout=True)}
    experiment_id = trial.start(demo.engine, demo.settings)
    url, people, config = demo.running.url, demo.people, demo.config
    shown: Sequence[tuple[str, Shown]] = trial.ask_questions(
        url, people, list(cases.values()), config, progress=progress
    )
    ratings = trial.rate_answers(url, people, shown, config, progress=progress)
    pairs = [
        (
            Answer(cases[row["case"]], row["candidate"], row["finished"][0]),
            Answer(cases[row["case"]], row["baseline"], row["finished"][1]),
        )
        for row in demo.state.result("held out")["pairs"]
    ]
    duels = trial.hold_duels(url, people, pairs, config, experiment_id=experiment_id, progress=progress)
    decision = trial.decide_and_act(demo.engine, demo.settings, experiment_id)
    said = f"A/B test, {ratings} ratings and {duels} blinded duels: {decision['verdict']}. {decision['reason']}"
    return {"said": said, "decision": decision, "experiment_id": experiment_id}


def _monitor(demo: Demo, progress: Progress) -> dict[str, Any]:
    result = run_stage_now(demo.settings, "monitor", MonitorConfig(), progress=progress)
    return {"said": result.summary, "metrics": result.metrics}


STEPS: tuple[tuple[str, Callable[[Demo, Progress], dict[str, Any]]], ...] = (
    ("answers", _answers),
    ("collect", _collect),
    ("round", _round),
    ("held out", _held_out),
    ("experiment", _experiment),
    ("monitor", _monitor),
)


def _finish(demo: Demo) -> Path:
    results = {name: demo.state.result(name) for name, _ in STEPS}
    store = ArtifactStore(demo.settings.artifacts_dir)
    path = demo.settings.home / "report.html"
    write_report(path, results, config=demo.config, engine=demo.engine, store=store)
    return path


def _say_goodbye(demo: Demo, report: Path) -> None:
    from preceptor.demo.summary import summary_table

    demo.display.console.print(summary_table({name: demo.state.result(name) for name, _ in STEPS}))
    demo.display.say(f"Report: {report}")
    if demo.config.serve:
        demo.display.say(f"Server: {demo.running.url}   sign in as [bold]{ADMIN}[/] / [bold]{demo.people.password}[/]")


def _serve_until_stopped(demo: Demo) -> None:
    demo.display.say("Press Ctrl-C to stop the server; `preceptor demo` brings it back with everything in it.")
    with contextlib.suppress(KeyboardInterrupt):
        while demo.running.server.poll() is None:
            time.sleep(0.5)
