"""A job is watched to its end through throttling; Ctrl-C leaves it running and says how to go on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from preceptor.cloud.runner import BackendBusy, Job, JobStatus
from preceptor.cloud.watch import watch
from preceptor.errors import NotFoundError, RunCanceled

STATUS = JobStatus("job-1", "reward", "running", "InProgress, Training", 5.0, {}, "d1")


@dataclass
class Scripted:
    """A runner that answers what the test says."""

    answers: list[JobStatus | Exception]
    asked: int = 0
    canceled: list[str] = field(default_factory=list)

    def submit(self, job: Job, /) -> str:
        raise NotImplementedError

    def status(self, name: str, /) -> JobStatus:
        self.asked += 1
        assert name == "job-1"
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def logs(self, name: str, /) -> Iterator[str]:
        raise NotImplementedError

    def cancel(self, name: str, /) -> None:
        self.canceled.append(name)

    def fetch(self, name: str, folder: Path, /) -> Path:
        raise NotImplementedError


def look(runner: Scripted, slept: list[float] | None = None) -> tuple[JobStatus, list[str]]:
    seen: list[str] = []
    sleep = (slept if slept is not None else []).append
    ended = watch(
        runner, "job-1", every=10, report=lambda s: seen.append(s.state), hint="`watch job-1` goes on.", sleep=sleep
    )
    return ended, seen


def test_a_job_is_watched_to_its_end() -> None:
    slept: list[float] = []
    runner = Scripted([replace(STATUS, state="queued"), STATUS, replace(STATUS, state="succeeded")])
    ended, seen = look(runner, slept)
    assert (ended.state, seen, slept) == ("succeeded", ["queued", "running", "succeeded"], [10, 10])


@pytest.mark.parametrize("state", ["failed", "stopped"])
def test_a_failed_or_stopped_job_ends_the_watch(state: str) -> None:
    ended, _ = look(Scripted([STATUS, replace(STATUS, state=state, reason="out of memory")]))  # type: ignore[arg-type]
    assert (ended.state, ended.reason) == (state, "out of memory")


def test_throttling_is_waited_out_ever_more_slowly() -> None:
    slept: list[float] = []
    busy = BackendBusy("busy.")
    ended, _ = look(Scripted([STATUS, busy, busy, busy, STATUS, replace(STATUS, state="succeeded")]), slept)
    assert ended.state == "succeeded"
    assert slept == [10, 20, 40, 80, 10]


def test_a_backend_that_never_answers_is_given_up_and_the_job_is_not() -> None:
    slept: list[float] = []
    runner = Scripted([BackendBusy("AWS does not answer.")])
    with pytest.raises(BackendBusy, match=r"job-1 goes on\. `watch job-1` goes on\."):
        look(runner, slept)
    assert runner.canceled == []
    assert max(slept) == 300


def test_an_error_that_waiting_does_not_mend_is_told_at_once() -> None:
    runner = Scripted([NotFoundError("There is no such job.")])
    with pytest.raises(NotFoundError):
        look(runner)
    assert runner.asked == 1


def test_ctrl_c_leaves_the_job_running_and_says_how_to_go_on() -> None:
    runner = Scripted([STATUS])

    def press(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(RunCanceled, match=r"the job job-1 goes on\. `watch job-1`"):
        watch(runner, "job-1", every=1, report=lambda _: None, hint="`watch job-1` goes on.", sleep=press)
    assert runner.canceled == []
