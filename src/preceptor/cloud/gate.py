"""What a dataset says about its de-identification in, leave to send it away out, or a refusal with its reason.

A dataset leaves this machine only where every record in it was cleaned by the scrubber that is installed here, and none
that it failed on slipped through. A model leaves only where that holds for every dataset that it was made from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from preceptor.artifacts.store import Artifact, ArtifactStore
from preceptor.errors import GateRefused, NotFoundError
from preceptor.files.atomic import file_digest
from preceptor.privacy.scrub import SCRUBBER_VERSION

RECORD = "deidentification.json"
AGAIN = "Run `preceptor curate` and `preceptor prepare`, and send the dataset that they make."


class _Deidentified(BaseModel):
    """The record that the prepare stage writes."""

    model_config = ConfigDict(strict=True)

    records: int
    scrubbed: int
    recognizers: dict[str, int]
    fail_closed: bool


def require_deidentified(said: Any, name: str, *, scrubber: str = SCRUBBER_VERSION) -> None:
    """Pass a dataset whose record says that all of it was cleaned by `scrubber`.

    Raises:
        GateRefused: it says something else, or nothing.
    """
    try:
        record = _Deidentified.model_validate(said)
    except ValidationError:
        raise GateRefused(f"{name} stays here: it does not say how its identifiers were removed. {AGAIN}") from None
    if record.records < 1 or record.scrubbed != record.records or sum(record.recognizers.values()) != record.records:
        raise GateRefused(
            f"{name} stays here: identifiers were removed from {record.scrubbed} of its {record.records} records. "
            f"{AGAIN}"
        )
    if not record.fail_closed:
        raise GateRefused(f"{name} stays here: records that de-identification failed on may be in it. {AGAIN}")
    others = sorted(set(record.recognizers) - {scrubber})
    if others:
        raise GateRefused(
            f"{name} stays here: some of it was cleaned by the scrubber {others[0]}, and this is {scrubber}. {AGAIN}"
        )


def require_artifact_deidentified(artifact: Artifact, store: ArtifactStore) -> None:
    """Pass an artifact when it is a de-identified dataset, or was made from such datasets only.

    Raises:
        GateRefused: a dataset is not, or what the artifact was made from is not known here.
    """
    datasets = [found for found in family(artifact, store) if found.kind == "dataset"]
    if not datasets:
        raise GateRefused(
            f"{artifact.id} stays here: it is not known which dataset it was made from, so nothing says that its "
            "prompts are de-identified. Train it from a dataset artifact."
        )
    for dataset in datasets:
        path = dataset.path / RECORD
        require_deidentified(json.loads(path.read_text()) if path.is_file() else None, dataset.id)


def require_file_deidentified(path: Path) -> None:
    """Pass a JSONL file that a manifest beside it names, with this content, as exported from a clean dataset.

    Raises:
        GateRefused: no manifest vouches for the file.
    """
    for manifest in sorted(path.parent.glob("*.manifest.json")):
        said = _json_object(manifest)
        entry = said.get("files", {}).get(path.name) if isinstance(said.get("files"), Mapping) else None
        if isinstance(entry, Mapping) and entry.get("sha256") == file_digest(path):
            return require_deidentified(said.get("deidentification"), str(path))
    raise GateRefused(
        f"{path} stays here: no manifest beside it says, for this content, that it is de-identified. Name a dataset "
        "artifact, or a file that `app.rlhf.prepare_dataset` wrote."
    )


def family(artifact: Artifact, store: ArtifactStore) -> Iterator[Artifact]:
    """The artifact and everything it was made from."""
    waiting, seen = [artifact], {artifact.id}
    while waiting:
        found = waiting.pop()
        yield found
        for parent in found.parents:
            if parent in seen:
                continue
            seen.add(parent)
            try:
                waiting.append(store.open(parent))
            except NotFoundError:
                raise GateRefused(
                    f"{artifact.id} stays here: it was made from {parent}, which is not in {store.root}, so nothing "
                    "says that it was de-identified."
                ) from None


def _json_object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
