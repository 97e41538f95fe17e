"""A stage and its config in, the job out: its flags as text and the inputs that go along, each past the gate.

An artifact keeps its id, because the container puts it into an artifact store of its own; a folder or a file is named
`channel:NAME`, which the container replaces by the place where it found that input.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from preceptor.artifacts.store import MANIFEST, Artifact, ArtifactStore
from preceptor.cloud.gate import require_artifact_deidentified, require_file_deidentified
from preceptor.cloud.runner import CHANNEL, Input, Job, digest_of
from preceptor.errors import GateRefused, InputError, NotFoundError
from preceptor.files.atomic import file_digest
from preceptor.files.jsonl import beside
from preceptor.modeling.resolve import hub_folder
from preceptor.settings import Settings

MODELS = {"reward": "base_model", "policy": "base_model", "evaluate": "baseline"}  # the field of a public model
KINDS = {"reward": "reward_model", "policy": "policy", "evaluate": "report"}  # what each makes
STAGES = tuple(KINDS)


def plan_job(stage: str, config: BaseModel, settings: Settings) -> Job:
    """Work out what a stage needs elsewhere.

    Every field is written out, so that another version of the stage's defaults in the image changes nothing.

    Raises:
        GateRefused: an input is not known to be de-identified.
        InputError: the stage cannot run elsewhere. NotFoundError: an input does not exist.
    """
    if stage not in STAGES:
        raise InputError(
            f"The stage '{stage}' needs the database and runs here; {', '.join(STAGES)} can run elsewhere."
        )
    if getattr(config, "tensorboard", False):
        raise InputError("TensorBoard's files are not fetched; metrics.jsonl of the policy has the same numbers.")
    store = ArtifactStore(settings.artifacts_dir)
    values = {**config.model_dump(mode="json"), **_default_model(stage, config, settings)}
    found: dict[str, Input] = {}
    for field in _references(config):
        if values[field] is None:
            continue
        item, values[field] = _input(field, str(values[field]), store, is_model=field == MODELS[stage])
        if item is not None:
            found[field] = item
    if stage == "policy" and (values["warm_start_epochs"] or values["algorithm"] != "ppo"):
        found |= _parent_dataset(str(values["reward_model"]), store)
    return Job(
        stage, {name: _text(value) for name, value in values.items() if value is not None}, _once(found.values())
    )


def _references(config: BaseModel) -> list[str]:
    """The fields that name something to read: every one of free text or a path, so that none slips past the gate."""
    return [
        name
        for name, field in type(config).model_fields.items()
        if {str, Path} & {field.annotation, *get_args(field.annotation)}
    ]


def _default_model(stage: str, config: BaseModel, settings: Settings) -> dict[str, Any]:
    """The base model that this installation is set to, where the config names none."""
    default = settings.reward_model if stage == "reward" else settings.policy_model
    field = MODELS[stage]
    return {field: getattr(config, field) or default}


def _input(field: str, reference: str, store: ArtifactStore, *, is_model: bool) -> tuple[Input | None, str]:
    """What goes along for one field, and the field's value there."""
    there = CHANNEL + field
    if is_model and reference.startswith("s3://"):
        return Input(field, digest_of(reference)[:16], None, {}, uri=reference.rstrip("/") + "/"), there
    path = Path(reference).expanduser()
    if not path.exists():
        try:
            artifact = store.open(reference, verify=True)
        except NotFoundError:
            if not is_model:
                raise
            cached = hub_folder(reference)
            return (_folder(field, cached), there) if cached else (None, reference)
        if field in {"dataset", *KINDS.values()} and artifact.kind != field:  # there it would fail, and be paid for
            raise InputError(f"'{reference}' is a {artifact.kind} artifact; a {field} is wanted here.")
        require_artifact_deidentified(artifact, store)
        return _artifact(field, artifact), reference
    if path.is_file():
        return _file(field, path), f"{there}/{path.name}"
    if not is_model or (path / "preceptor.json").is_file():
        raise GateRefused(
            f"The folder {path} stays here: nothing says what it was made from. Name it by its artifact id."
        )
    return _folder(field, path), there


def _file(channel: str, path: Path) -> Input:
    """A file, and with a dataset the ties beside it, since it teaches another model without them."""
    ties = beside(path, "ties.jsonl")
    paths = [path, ties] if channel == "dataset" and ties.is_file() else [path]
    for found in paths:
        require_file_deidentified(found)
    files = {found.name: file_digest(found) for found in paths}
    key = digest_of(files) if len(paths) > 1 else files[path.name]
    return Input(channel, f"{channel}-{key[:16]}", path.parent if len(paths) > 1 else path, files)


def _artifact(channel: str, artifact: Artifact) -> Input:
    files = {**artifact.files, MANIFEST: file_digest(artifact.path / MANIFEST)}
    return Input(channel, artifact.id, artifact.path, files)


def _folder(channel: str, path: Path) -> Input:
    """A model's folder; pickles, and whatever else lies in it, stay behind."""
    names = [found for found in sorted(path.rglob("*")) if found.is_file() and _belongs(found)]
    files = {found.relative_to(path).as_posix(): file_digest(found) for found in names}
    if not any(name.endswith(".safetensors") for name in files):
        raise InputError(f"The folder {path} holds no safetensors weights: name a model's folder.")
    return Input(channel, f"{channel}-{digest_of(files)[:16]}", path, files)


def _belongs(path: Path) -> bool:
    return path.suffix in {".safetensors", ".json", ".jinja", ".model"} or path.name in {"vocab.txt", "merges.txt"}


def _parent_dataset(reward_model: str, store: ArtifactStore) -> dict[str, Input]:
    """The reward model's dataset: a warm start learns from its chosen answers, DPO and KTO from all of it."""
    for parent in store.open(reward_model).parents:
        artifact = store.open(parent, verify=True)
        if artifact.kind == "dataset":
            return {"dataset": _artifact("dataset", artifact)}
    return {}


def _once(inputs: Iterable[Input]) -> tuple[Input, ...]:
    """Each content once: a baseline may be the policy itself, and a store links an id once."""
    found: dict[str, Input] = {}
    for item in inputs:
        found.setdefault(item.key, item)
    return tuple(found.values())


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
