"""Jobs on Ray: what is asked of its REST interface, what its answers become, and one real job on a real cluster."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from preceptor.artifacts.store import Artifact
from preceptor.cloud.config import RayConfig
from preceptor.cloud.inputs import plan_job
from preceptor.cloud.ray import Ray, ray_request
from preceptor.cloud.runner import BackendBusy, Job
from preceptor.errors import AccessError, ConflictError, InputError, NotFoundError, StorageError
from preceptor.reward.config import RewardConfig
from preceptor.settings import Settings

Make = Callable[..., Artifact]
ADDRESS = "http://ray.example:8265"


class Cluster:
    """The jobs interface of a Ray dashboard, as far as we use it, with the answers that Ray 2.60 gives."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.seen: list[tuple[str, str]] = []
        self.answer: httpx.Response | Exception | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append((request.method, request.url.path))
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return self.answer
        if request.method == "POST" and request.url.path == "/api/jobs/":
            body = json.loads(request.content)
            self.jobs[body["submission_id"]] = {**body, "status": "PENDING", "message": "queued", "start_time": 1000}
            return httpx.Response(200, json={"submission_id": body["submission_id"]})
        name, _, action = request.url.path.removeprefix("/api/jobs/").partition("/")
        if name not in self.jobs:
            return httpx.Response(404, text=f"Job {name} does not exist")
        if action == "stop":
            self.jobs[name]["status"] = "STOPPED"
            return httpx.Response(200, json={"stopped": True})
        if action == "logs":
            return httpx.Response(200, json={"logs": "one\ntwo\n"})
        return httpx.Response(200, json=self.jobs[name])


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def ray(cluster: Cluster, tmp_path: Path) -> Ray:
    config = RayConfig(address=ADDRESS, shared=tmp_path / "shared", python="/venv/bin/python")
    return Ray(ADDRESS, config, transport=httpx.MockTransport(cluster))


@pytest.fixture
def job(home: Settings, make_dataset: Make) -> Job:
    return plan_job("reward", RewardConfig(dataset=make_dataset(home).id, batch_size=4), home)


def test_a_job_has_the_folders_of_a_container_and_the_same_entry(ray: Ray, job: Job, cluster: Cluster) -> None:
    name = ray.submit(job)
    assert ray.config is not None
    root = ray.config.shared / name
    sent = cluster.jobs[name]
    assert sent["entrypoint"] == (
        f"/venv/bin/python -m preceptor.cloud.container reward --request {sent['metadata']['request']} "
        f"--root {root} --pack"
    )
    assert json.loads((root / "input" / "config" / "hyperparameters.json").read_text()) == job.flags
    assert sorted(path.name for path in (root / "input" / "data" / "dataset").iterdir()) == sorted(job.inputs[0].files)
    found = ray.status(name)
    assert (found.stage, found.state, found.flags, found.request) == (
        "reward",
        "queued",
        job.flags,
        sent["metadata"]["request"],
    )


def test_the_same_job_is_not_started_twice(ray: Ray, job: Job, cluster: Cluster) -> None:
    ray.submit(job)
    with pytest.raises(ConflictError, match="--job-name"):
        ray.submit(job)
    assert [method for method, _ in cluster.seen].count("POST") == 1


def test_a_job_is_read_stopped_and_its_failure_told(ray: Ray, job: Job, cluster: Cluster) -> None:
    name = ray.submit(job)
    assert list(ray.logs(name)) == ["one", "two"]
    cluster.jobs[name] |= {"status": "FAILED", "message": "exit code 1", "end_time": 3500}
    found = ray.status(name)
    assert (found.state, found.reason, found.seconds) == ("failed", "exit code 1", 2.5)
    failure = Path(cluster.jobs[name]["metadata"]["root"]) / "output" / "failure"
    failure.parent.mkdir()
    failure.write_text("preceptor: The loss is not a number.\n")
    assert ray.status(name).reason == "preceptor: The loss is not a number."
    ray.cancel(name)
    assert ray.status(name).state == "stopped"


def test_only_what_succeeded_is_fetched(ray: Ray, job: Job, cluster: Cluster, tmp_path: Path) -> None:
    name = ray.submit(job)
    with pytest.raises(ConflictError, match="is PENDING"):
        ray.fetch(name, tmp_path)
    cluster.jobs[name]["status"] = "SUCCEEDED"
    with pytest.raises(NotFoundError, match="mounted here"):
        ray.fetch(name, tmp_path)
    archive = Path(cluster.jobs[name]["metadata"]["root"]) / "output" / "model.tar.gz"
    archive.parent.mkdir()
    archive.write_bytes(b"x" * 100)
    assert ray.fetch(name, tmp_path).read_bytes() == b"x" * 100
    with pytest.raises(StorageError, match="--max-gb"):
        Ray(ADDRESS, max_bytes=50, transport=ray.transport).fetch(name, tmp_path)


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        (httpx.ConnectError("refused"), BackendBusy, "does not answer"),
        (httpx.ReadTimeout("slow"), BackendBusy, "does not answer"),
        (httpx.Response(503), BackendBusy, "busy"),
        (httpx.Response(401), AccessError, "RAY_AUTH_TOKEN"),
        (httpx.Response(500, text="Traceback\nValueError: bad entrypoint"), InputError, "ValueError: bad entrypoint"),
        (httpx.Response(200, json={"status": "RUNNING", "metadata": {}}), NotFoundError, "knows no job"),
        (httpx.Response(200, text="<html>Log in</html>"), InputError, "not as the dashboard of a Ray cluster"),
        (httpx.Response(302, headers={"Location": "/login"}), InputError, "not as the dashboard of a Ray cluster"),
    ],
)
def test_what_a_cluster_refuses_is_one_sentence(
    ray: Ray, cluster: Cluster, answer: httpx.Response | Exception, error: type[Exception], told: str
) -> None:
    cluster.answer = answer
    with pytest.raises(error, match=told):
        ray.status("job-1")


def test_a_token_is_sent_where_one_is_set(ray: Ray, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    def note(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("Authorization"))
        return httpx.Response(404)

    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    with pytest.raises(NotFoundError):
        Ray(ADDRESS, transport=httpx.MockTransport(note)).status("job-1")
    assert seen == ["Bearer secret"]


def test_ray_reads_no_s3(ray: Ray, home: Settings, make_dataset: Make) -> None:
    config = RewardConfig(dataset=make_dataset(home).id, base_model="s3://models/llama")
    with pytest.raises(InputError, match="Ray reads no S3"):
        ray.submit(plan_job("reward", config, home))


def test_a_request_names_itself_by_what_it_asks_for(job: Job, tmp_path: Path) -> None:
    first = ray_request(job, RayConfig(shared=tmp_path))
    assert ray_request(job, RayConfig(shared=tmp_path, wait=False)) == first
    assert ray_request(job, RayConfig(shared=tmp_path, gpus=1))["submission_id"] != first["submission_id"]


@pytest.fixture(scope="module")
def real_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Ray head on this machine, ended with the tests; its own Python needs no preceptor."""
    command = os.environ.get("RAY_COMMAND") or shutil.which("ray", path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip("Ray is not installed: `pip install 'preceptor[ray]'`, or name a ray command in RAY_COMMAND")
    with socket.socket() as free, socket.socket() as other:
        free.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        port, dashboard = free.getsockname()[1], other.getsockname()[1]
    words = ["start", "--head", "--block", f"--port={port}", f"--dashboard-port={dashboard}", "--num-cpus=1"]
    words += ["--include-dashboard=true", "--disable-usage-stats", f"--temp-dir={tmp_path_factory.mktemp('ray')}"]
    log = (tmp_path_factory.mktemp("log") / "ray.log").open("w")
    # Ray would kill a job because of what other programs on this machine hold in memory
    environment = {**os.environ, "RAY_memory_monitor_refresh_ms": "0"}
    head = subprocess.Popen([command, *words], stdout=log, stderr=subprocess.STDOUT, env=environment)
    address = f"http://127.0.0.1:{dashboard}"
    try:
        for _ in range(120):
            try:
                if httpx.get(f"{address}/api/jobs/", timeout=5).is_success:
                    break
            except httpx.TransportError:
                pass
            time.sleep(1)
        else:
            pytest.fail(f"Ray did not start; see {log.name}")
        yield address
    finally:
        head.terminate()
        head.wait(60)
        log.close()


@pytest.mark.ray
def test_a_real_cluster_runs_a_job_fails_one_and_stops_one(
    real_cluster: str, home: Settings, make_dataset: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from preceptor.cloud.publish import publish
    from preceptor.cloud.watch import watch
    from preceptor.settings import load_settings

    monkeypatch.delenv("DATABASE_URL", raising=False)
    shared = tmp_path / "shared"
    shared.mkdir()
    tmp_path.chmod(0o755)

    def finish(runner: Ray, name: str) -> Any:
        return watch(runner, name, every=1, report=lambda _: None, hint="")

    dataset = make_dataset(home)
    good = plan_job("reward", RewardConfig(dataset=dataset.id, base_model="all-MiniLM-L6-v2", mode="frozen"), home)
    runner = Ray(real_cluster, RayConfig(address=real_cluster, shared=shared))
    ended = finish(runner, runner.submit(good))
    assert ended.state == "succeeded", list(runner.logs(ended.name))[-20:]
    assert any(line.startswith("reward_model-") for line in runner.logs(ended.name))
    own = load_settings(home=home.home, database_url=None)
    made = publish(runner.fetch(ended.name, tmp_path), ended, own, backend="ray", max_bytes=10**9)
    assert made.parents == [dataset.id]

    bad = plan_job("reward", RewardConfig(dataset=dataset.id, base_model="no-such-model", mode="frozen"), home)
    ended = finish(runner, runner.submit(bad))
    assert (ended.state, "no-such-model" in str(ended.reason)) == ("failed", True)

    slow = Ray(real_cluster, RayConfig(address=real_cluster, shared=shared, job_name="slow"))
    name = slow.submit(good)
    slow.cancel(name)
    assert finish(slow, name).state == "stopped"
