"""Verdicts on simulated experiments: harm goes back, breakage pauses, little data never promotes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from preceptor.experiment.analyze import Decision, analyze
from preceptor.experiment.assign import CONTROL, TREATMENT, block_arm
from preceptor.experiment.config import DecisionPolicy
from preceptor.experiment.outcomes import AssignedUnit, Duel, Judgement, Records, ShownAnswer, outcomes_by_unit

START = datetime(2026, 1, 5, 8, tzinfo=UTC)
LATER = START + timedelta(days=400)
POLICY = DecisionPolicy()


def simulate(
    units: int,
    *,
    seed: int,
    control: float = 0.6,
    treatment: float = 0.6,
    spread: float = 0.15,
    flag_control: float = 0.05,
    flag_treatment: float = 0.05,
    ratings: int = 6,
    duels: int = 0,
    win: float = 0.5,
    prompt_spread: float = 0.0,
    prompts: int = 40,
) -> Records:
    """Clinicians in blocks, each with a taste of their own; `win` is the mean chance that treatment wins a duel."""
    rng = np.random.default_rng(seed)
    favor = rng.normal(0, prompt_spread, prompts) if prompt_spread else np.zeros(prompts)
    assigned, shown, judgements, fought = [], [], [], []
    for number in range(units):
        arm, name = block_arm(f"s{seed}", "", number), f"u{number:04d}"
        at = START + timedelta(hours=number)
        assigned.append(AssignedUnit(name, arm, at))
        mean = np.clip(rng.normal(treatment if arm == TREATMENT else control, spread), 0, 1)
        flags = rng.random() < (flag_treatment if arm == TREATMENT else flag_control)
        for turn in range(ratings):
            answer, moment = f"{name}-{turn}", at + timedelta(minutes=turn)
            shown.append(ShownAnswer(name, arm, answer, moment))
            harm = 2 if flags and turn == 0 else 0
            judgements.append(Judgement(name, answer, 1 + int(rng.binomial(4, mean)), harm, False, moment))
        taste = np.clip(rng.normal(win, 0.1), 0, 1)
        for turn in range(duels):
            prompt = (number * duels + turn) % prompts
            score = float(rng.random() < taste + favor[prompt])
            sides = (f"{name}-da{turn}", f"{name}-db{turn}")
            fought.append(Duel(name, f"p{prompt}", sides, score, at + timedelta(hours=1, minutes=turn)))
    return Records(assigned, shown, judgements, fought)


def decide(
    records: Records, *, final: bool = False, policy: DecisionPolicy = POLICY, now: datetime = LATER
) -> Decision:
    return analyze(records, policy=policy, now=now, final=final)


def status(decision: Decision, name: str) -> str:
    return next(check.status for check in decision.checks if check.name == name)


def test_no_data_goes_on_and_is_inconclusive_at_the_end() -> None:
    assert decide(Records()).verdict == "continue"
    ended = decide(Records(), final=True)
    assert ended.verdict == "inconclusive"
    assert status(ended, "duels") == "insufficient data"
    assert status(ended, "no_rise_in_flags") == "insufficient data"


def test_clear_harm_rolls_back_and_says_why() -> None:
    decision = decide(simulate(240, seed=1, treatment=0.4))
    assert decision.verdict == "roll_back"
    assert "satisfaction is lower on the new release" in decision.reason


def test_unsafe_answers_roll_back_long_before_satisfaction_moves() -> None:
    decision = decide(simulate(120, seed=2, flag_control=0.05, flag_treatment=0.5))
    assert decision.verdict == "roll_back"
    assert status(decision, "harm_safety_flags") == "failed"
    assert status(decision, "harm_satisfaction") == "passed"


def test_equal_arms_are_seldom_rolled_back() -> None:
    wrong = sum(decide(simulate(200, seed=seed, duels=3)).verdict == "roll_back" for seed in range(100))
    assert wrong <= 15  # three harm tests at 5 % each, read at every clinician


def test_a_better_release_is_recommended_with_certificates() -> None:
    decision = decide(simulate(500, seed=3, treatment=0.75))
    assert decision.verdict == "promote"
    assert [status(decision, f"non_inferiority_{what}") for what in ("satisfaction", "safety")] == ["passed", "passed"]
    assert "always-valid interval" in decision.reason


def test_an_equal_release_is_not_promoted_however_large_the_sample() -> None:
    decision = decide(simulate(700, seed=4), final=True)
    assert decision.verdict == "inconclusive"
    assert status(decision, "superiority") == "insufficient data"


def test_a_better_but_unsafe_release_is_not_promoted() -> None:
    decision = decide(simulate(500, seed=5, treatment=0.75, flag_control=0.05, flag_treatment=0.16), final=True)
    assert decision.verdict != "promote"


def test_few_clinicians_are_never_enough_for_a_certificate() -> None:
    decision = decide(simulate(16, seed=6, treatment=0.9, control=0.2))
    assert decision.verdict == "continue"
    assert status(decision, "non_inferiority_satisfaction") == "insufficient data"
    assert decision.evidence.sequence is None


def test_the_small_sample_policy_promotes_on_duels_and_says_so() -> None:
    decision = decide(simulate(16, seed=7, duels=8, win=0.75), final=True)
    assert decision.verdict == "promote"
    assert "small-sample policy" in decision.reason
    assert "16 clinicians, 128 blinded duels on 40 prompts" in decision.reason


def test_the_small_sample_policy_can_be_refused() -> None:
    strict = DecisionPolicy(small_sample="refuse")
    assert decide(simulate(16, seed=7, duels=8, win=0.75), final=True, policy=strict).verdict == "inconclusive"


def test_the_small_sample_policy_seldom_promotes_an_equal_release_and_often_a_better_one() -> None:
    equal = [decide(simulate(16, seed=seed, duels=8), final=True).verdict for seed in range(200)]
    assert equal.count("promote") <= 12  # 2.5 % and three standard errors
    better = [decide(simulate(16, seed=seed, duels=8, win=0.68), final=True).verdict for seed in range(50)]
    assert better.count("promote") >= 40


def test_prompts_that_happen_to_favor_one_release_do_not_decide() -> None:
    shared = {"duels": 10, "prompts": 10, "prompt_spread": 0.3}
    decisions = [decide(simulate(16, seed=seed, **shared), final=True) for seed in range(200)]  # type: ignore[arg-type]
    assert sum(d.verdict == "promote" for d in decisions) <= 12
    assert sum(d.verdict == "roll_back" for d in decisions) <= 10 + 9
    many = [decide(simulate(100, seed=seed, duels=10, prompts=30, prompt_spread=0.3, ratings=1)) for seed in range(60)]
    assert sum(status(d, "harm_duels") == "failed" for d in many) <= 3


def test_one_busy_clinician_cannot_promote_a_release() -> None:
    records = simulate(16, seed=8, duels=1)
    zealot = [
        Duel("u0000", f"p{n % 40}", (f"x{n}", f"y{n}"), 1.0, START + timedelta(hours=2, minutes=n)) for n in range(300)
    ]
    decision = decide(replace(records, duels=[*records.duels, *zealot]), final=True)
    assert decision.verdict == "inconclusive"


def test_losing_the_duels_rolls_back() -> None:
    decision = decide(simulate(40, seed=9, duels=10, win=0.2), final=True)
    assert decision.verdict == "roll_back"
    assert "blinded comparisons are lost" in decision.reason


def test_a_broken_split_pauses_and_blanks_even_a_glowing_result() -> None:
    records = simulate(600, seed=10, treatment=0.8)
    lost = {a.unit for a in records.assigned if a.arm == CONTROL and int(a.unit[1:]) % 2}
    broken = replace(
        records,
        assigned=[a for a in records.assigned if a.unit not in lost],
        shown=[s for s in records.shown if s.unit not in lost],
    )
    decision = decide(broken)
    assert decision.verdict == "pause"
    assert "clinicians assigned are not split half and half" in decision.reason
    assert decide(broken, final=True).verdict == "inconclusive"


def test_ratings_missing_from_one_arm_pause() -> None:
    records = simulate(600, seed=11)
    arms = {a.unit: a.arm for a in records.assigned}
    kept = [j for j in records.judgements if arms[j.unit] == CONTROL or int(j.unit[1:]) % 3 == 0]
    decision = decide(replace(records, judgements=kept))
    assert decision.verdict == "pause"
    assert status(decision, "sample_ratio_rated") == "failed"
    assert status(decision, "sample_ratio_assigned") == "passed"


def test_answers_of_the_wrong_arm_pause() -> None:
    records = simulate(100, seed=12)
    wrong = [replace(row, arm=CONTROL if row.arm == TREATMENT else TREATMENT) for row in records.shown[:30]]
    assert decide(replace(records, shown=[*wrong, *records.shown[30:]])).verdict == "pause"


def test_a_confirmed_critical_answer_on_treatment_pauses_and_an_unconfirmed_one_does_not() -> None:
    records = simulate(60, seed=13)
    arms = {a.unit: a.arm for a in records.assigned}
    index = next(n for n, j in enumerate(records.judgements) if arms[j.unit] == TREATMENT)

    def with_flag(*, confirmed: bool) -> Records:
        changed = list(records.judgements)
        changed[index] = replace(changed[index], harm_severity=3, confirmed=confirmed)
        return replace(records, judgements=changed)

    assert decide(with_flag(confirmed=True)).verdict == "pause"
    assert decide(with_flag(confirmed=False)).verdict == "continue"


def test_the_same_records_give_the_same_decision_in_any_row_order() -> None:
    records = simulate(80, seed=14, duels=2)
    mixed = Records(records.assigned[::-1], records.shown[::-1], records.judgements[::-1], records.duels[::-1])
    assert decide(records) == decide(mixed)


def reduce(records: Records, *, now: datetime = LATER, final: bool = False):
    return outcomes_by_unit(records, now=now, window=timedelta(days=14), ratings_per_unit=10, harm_level=2, final=final)


def one_unit(judgements: list[Judgement], duels: list[Duel] | None = None) -> Records:
    return Records(
        [AssignedUnit("u", TREATMENT, START)],
        [ShownAnswer("u", TREATMENT, f"i{n}", START + timedelta(days=n)) for n in range(30)],
        judgements,
        duels or [],
    )


def test_a_clinician_counts_only_when_the_window_has_closed() -> None:
    records = one_unit([Judgement("u", "i0", 5, 0, False, START)])
    assert reduce(records, now=START + timedelta(days=13)).satisfactions(TREATMENT) == []
    assert reduce(records, now=START + timedelta(days=13), final=True).satisfactions(TREATMENT) == [1.0]
    assert reduce(records, now=START + timedelta(days=14)).satisfactions(TREATMENT) == [1.0]


def test_only_the_first_ten_ratings_in_the_window_count() -> None:
    stars = [Judgement("u", f"i{n}", 5 if n < 10 else 1, 0, False, START + timedelta(days=n)) for n in range(30)]
    unit = reduce(one_unit(stars)).units[0]
    assert (unit.satisfaction, unit.ratings) == (1.0, 10)


@pytest.mark.parametrize(
    "stray",
    [
        Judgement("u", "never-shown", 1, 3, False, START + timedelta(days=1)),
        Judgement("u", "i0", 1, 3, False, START - timedelta(days=1)),
        Judgement("u", "i20", 1, 3, False, START + timedelta(days=20)),
        Judgement("nobody", "i0", 1, 3, False, START + timedelta(days=1)),
    ],
    ids=["of an answer not shown to them", "before exposure", "after the window", "by somebody else"],
)
def test_a_stray_judgement_does_not_count(stray: Judgement) -> None:
    unit = reduce(one_unit([Judgement("u", "i0", 5, 0, False, START), stray])).units[0]
    assert (unit.satisfaction, unit.first_flag) == (1.0, None)


def test_ratings_of_answers_in_a_duel_are_left_out() -> None:
    stars = [Judgement("u", "i0", 5, 0, False, START), Judgement("u", "i1", 1, 0, False, START + timedelta(days=1))]
    duel = Duel("u", "p", ("i1", "other"), 1.0, START)
    assert reduce(one_unit(stars, [duel])).satisfactions(TREATMENT) == [1.0]
