"""`preceptor cloud sagemaker | ray`: run a stage on machines of others, watch it, stop it, fetch what it made."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel
from tyro.conf import AvoidSubcommands, Positional, arg

from preceptor.artifacts.store import ArtifactStore
from preceptor.cloud.config import RayConfig, SageMakerConfig
from preceptor.cloud.display import byte_bar, job_bar
from preceptor.cloud.inputs import STAGES, plan_job
from preceptor.cloud.ray import Ray, ray_request
from preceptor.cloud.request import training_request
from preceptor.cloud.runner import Job, JobStatus, Runner
from preceptor.cloud.sagemaker import SageMaker
from preceptor.cloud.watch import watch
from preceptor.commands.parsing import call, configure
from preceptor.errors import ConfigError, ConflictError
from preceptor.settings import Settings, load_settings

BACKENDS = {"sagemaker": "a SageMaker training job", "ray": "a job on a Ray cluster"}
_CONFIGS: dict[str, type[SageMakerConfig | RayConfig]] = {"sagemaker": SageMakerConfig, "ray": RayConfig}
_ACTIONS = {
    "status": "where a job stands",
    "logs": "what it printed so far",
    "watch": "watch it to its end and fetch what it made",
    "cancel": "ask it to stop",
    "fetch": "unpack what it made, check it, publish it",
}
Region = Annotated[str | None, arg(help="AWS region; default: that of the environment.")]
Address = Annotated[str, arg(help="Dashboard of the Ray cluster.")]
MaxGb = Annotated[float, arg(help="Largest size of what is fetched, unpacked.")]
Seconds = Annotated[float, arg(help="Seconds between two looks at the job.")]


def main(words: list[str]) -> None:
    """The first word names the backend, the second a stage to start or an action on a job."""
    if not words or words[0] in {"-h", "--help"}:
        print("usage: preceptor cloud BACKEND STAGE [options]\n")
        for name, text in BACKENDS.items():
            print(f"  {name:<10}{text}")
        print(f"\nSTAGE is one of {', '.join(STAGES)}. `preceptor cloud sagemaker --help` lists the options.")
        return
    if words[0] not in BACKENDS:
        print(f"There is no 'cloud {words[0]}'; choose one of: {', '.join(BACKENDS)}.", file=sys.stderr)
        raise SystemExit(2)
    backend, rest = words[0], words[1:]
    if not rest or rest[0] in {"-h", "--help"}:
        _help(backend)
    elif rest[0] in STAGES:
        _submit(backend, rest[0], rest[1:])
    elif rest[0] in _ACTIONS:
        call(_action(backend, rest[0]), rest[1:], prog=f"cloud {backend} {rest[0]}")
    else:
        known = ", ".join((*STAGES, *_ACTIONS))
        print(f"There is no 'cloud {backend} {rest[0]}'; choose one of: {known}.", file=sys.stderr)
        raise SystemExit(2)


def _help(backend: str, *stages: str) -> None:
    import tyro

    from preceptor.pipeline import config_class

    print(f"usage: preceptor cloud {backend} STAGE [options of the job] [options of the stage]")
    print(f"       preceptor cloud {backend} {'|'.join(_ACTIONS)} JOB\n")
    for name, text in _ACTIONS.items():
        print(f"  {name} JOB{'':<{8 - len(name)}}{text}")
    for stage in stages or STAGES:
        fields = " ".join("--" + name.replace("_", "-") for name in config_class(stage).model_fields)
        print(f"\noptions of {stage}, as `preceptor {stage} --help` explains them:\n  {fields}")
    print("\nAn option may be written with _ for -, as in --batch_size. Options of the job:\n")
    tyro.cli(_CONFIGS[backend], args=["--help"], prog=f"preceptor cloud {backend} STAGE", config=(AvoidSubcommands,))


def _submit(backend: str, stage: str, words: list[str]) -> None:
    """Start a stage elsewhere; with `--wait`, watch it and fetch what it made."""
    if "--help" in words or "-h" in words:
        return _help(backend, stage)
    config, stage_config = parse(backend, stage, words)
    settings = load_settings()
    job = plan_job(stage, stage_config, settings)
    if config.dry_run:
        request = training_request(job, config) if isinstance(config, SageMakerConfig) else ray_request(job, config)
        print(json.dumps(request, indent=2))
        return None
    _require_standing(job, settings)
    with byte_bar("sending") as report:
        name = _runner(config, report).submit(job)
    print(f"The job {name} is submitted.", file=sys.stderr)
    where = _where(config)
    if not config.wait:
        print(name)
        return None
    print(f"Ctrl-C stops watching, not the job. {_hint(backend, name, where)}", file=sys.stderr)
    return _finish(backend, _runner(config), name, where, every=config.poll_seconds, max_gb=config.max_gb)


def _require_standing(job: Job, settings: Settings) -> None:
    """Ask the database, where one answers, whether all that is about to leave may still be used."""
    from preceptor.cloud.withdrawals import datasets_behind, require_standing
    from preceptor.db.engine import connect, session_scope

    datasets = sorted(set(datasets_behind(job, ArtifactStore(settings.artifacts_dir))))
    try:
        engine = connect(settings) if datasets else None
    except ConfigError:
        print("No database answers: what was withdrawn since the dataset was prepared is not known.", file=sys.stderr)
        return
    if engine is None:
        return
    try:
        with session_scope(engine) as session:
            for dataset in datasets:
                require_standing(session, dataset)
    finally:
        engine.dispose()


def parse(backend: str, stage: str, words: list[str]) -> tuple[SageMakerConfig | RayConfig, BaseModel]:
    """One command line as the settings of the job and those of the stage, which have no name in common."""
    from preceptor.pipeline import config_class

    config, stage_config = configure([_CONFIGS[backend], config_class(stage)], words, prog=f"cloud {backend} {stage}")
    return config, stage_config


def _runner(config: SageMakerConfig | RayConfig, report: Callable[[int, int], None] | None = None) -> Runner:
    most = round(config.max_gb * 10**9)
    if isinstance(config, RayConfig):
        return Ray(config.address, config, most)
    return SageMaker(config.region, config, most, report) if report else SageMaker(config.region, config, most)


def _action(backend: str, action: str) -> Callable[..., None]:
    """The function whose signature is the action's command line."""

    def sagemaker(
        job: Positional[str], /, region: Region = None, max_gb: MaxGb = 20.0, poll_seconds: Seconds = 20.0
    ) -> None:
        where = f" --region {region}" if region else ""
        with byte_bar("fetching") as report:
            runner = SageMaker(region, max_bytes=round(max_gb * 10**9), report=report)
            _act(action, backend, runner, job, where=where, every=poll_seconds, max_gb=max_gb)

    def ray(
        job: Positional[str],
        /,
        address: Address = "http://127.0.0.1:8265",
        max_gb: MaxGb = 20.0,
        poll_seconds: Seconds = 20.0,
    ) -> None:
        runner = Ray(address, max_bytes=round(max_gb * 10**9))
        _act(action, backend, runner, job, where=f" --address {address}", every=poll_seconds, max_gb=max_gb)

    return sagemaker if backend == "sagemaker" else ray


def _act(action: str, backend: str, runner: Runner, job: str, *, where: str, every: float, max_gb: float) -> None:
    if action == "logs":
        for line in runner.logs(job):
            print(line)
    elif action == "watch":
        _finish(backend, runner, job, where, every=every, max_gb=max_gb)
    elif action == "fetch":
        _fetch(backend, runner, runner.status(job), max_gb=max_gb)
    elif action == "cancel":
        runner.cancel(job)
        print(f"The job {job} is asked to stop; what it made so far stays in its checkpoints.")
    else:
        status = runner.status(job)
        reason = f"\n{status.reason}" if status.reason else ""
        print(f"{status.name}  {status.stage}  {status.state} ({status.detail})  {status.seconds:.0f} s{reason}")


def _finish(backend: str, runner: Runner, job: str, where: str, *, every: float, max_gb: float) -> None:
    with job_bar(job) as report:
        status = watch(runner, job, every=every, report=report, hint=_hint(backend, job, where))
    _fetch(backend, runner, status, max_gb=max_gb)


def _fetch(backend: str, runner: Runner, status: JobStatus, *, max_gb: float) -> None:
    from preceptor.cloud.publish import publish

    if status.state != "succeeded":
        reason = f": {status.reason}" if status.reason else ". Its logs say more."
        raise ConflictError(f"The job {status.name} is {status.state}{reason}")
    settings = load_settings()
    settings.home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=settings.home) as scratch:
        archive = runner.fetch(status.name, Path(scratch))
        artifact = publish(archive, status, settings, backend=backend, max_bytes=round(max_gb * 10**9))
    print(f"The job {status.name} ran for {status.seconds:.0f} s; what it made is published.", file=sys.stderr)
    print(artifact.id)


def _where(config: Any) -> str:
    if isinstance(config, RayConfig):
        return f" --address {config.address}"
    return f" --region {config.region}" if config.region else ""


def _hint(backend: str, job: str, where: str) -> str:
    start = f"preceptor cloud {backend}"
    return f"`{start} watch {job}{where}` goes on watching, `{start} cancel {job}{where}` ends it."
