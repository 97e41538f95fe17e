"""A prepared dataset in, its files out: JSONL, a `datasets` folder, and the exact judgements it was made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from preceptor.files.atomic import file_digest, write_atomic, write_together
from preceptor.files.jsonl import beside, jsonl_bytes, write_jsonl
from preceptor.prepare.dataset import Prepared, to_dataset_dict

PAIRS, TIES, PROMPTS, UNPAIRED, SOURCES, DEIDENTIFICATION, DATASET = (
    "preferences.jsonl", "ties.jsonl", "prompts.jsonl", "unpaired.jsonl", "sources.jsonl", "deidentification.json",
    "dataset",
)  # fmt: skip


def write_dataset(folder: Path, prepared: Prepared, deidentified: Mapping[str, Any]) -> None:
    """Fill a dataset's folder; the same judgements make the same bytes."""
    write_atomic(folder / DEIDENTIFICATION, json.dumps(deidentified, indent=2, sort_keys=True) + "\n")
    write_jsonl(folder / PAIRS, prepared.pair_rows())
    write_jsonl(folder / TIES, prepared.tie_rows())
    write_jsonl(folder / PROMPTS, prepared.prompt_rows())
    write_jsonl(folder / UNPAIRED, prepared.unpaired_rows())
    write_jsonl(folder / SOURCES, prepared.members())
    with _no_bars():
        to_dataset_dict(prepared.pair_rows()).save_to_disk(str(folder / DATASET))
    for state in sorted((folder / DATASET).rglob("state.json")):
        _steady(state)


def export_dataset(
    output: Path,
    *,
    pairs: Iterable[Mapping[str, Any]],
    prompts: Iterable[Mapping[str, Any]],
    unpaired: Iterable[Mapping[str, Any]] = (),
    ties: Iterable[Mapping[str, Any]] = (),
    about: Mapping[str, Any],
) -> None:
    """Write a dataset as one JSONL file with its ties, prompts, labels and manifest beside it, all of them or none.

    For `preferences.jsonl` these are `preferences.ties.jsonl`, `preferences.prompts.jsonl`,
    `preferences.unpaired.jsonl` and `preferences.jsonl.manifest.json`. A kind without rows is an empty file, so that
    nothing of an earlier export stays.

    Raises:
        StorageError: the disk is full or the place is not writable; files already there stay whole.
    """
    rows = {
        beside(output, TIES): [dict(row) for row in ties],
        beside(output, PROMPTS): [dict(row) for row in prompts],
        beside(output, UNPAIRED): [dict(row) for row in unpaired],
        output: [dict(row) for row in pairs],
    }
    contents = {path: jsonl_bytes(found) for path, found in rows.items()}
    files = {
        path.name: {"sha256": hashlib.sha256(contents[path]).hexdigest(), "rows": len(found)}
        for path, found in rows.items()
    }
    manifest = json.dumps({"files": files, **about}, indent=2, sort_keys=True, ensure_ascii=False).encode()
    write_together({**contents, output.with_name(f"{output.name}.manifest.json"): manifest})


@contextmanager
def _no_bars() -> Iterator[None]:
    """Keep the library's own progress bars out of a run's log."""
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    were_off = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not were_off:
            enable_progress_bars()


def _steady(state: Path) -> None:
    """Replace the random fingerprint of a `datasets` split, so that equal data have equal files."""
    content = json.loads(state.read_text())
    content["_fingerprint"] = file_digest(state.parent / content["_data_files"][0]["filename"])[:16]
    state.write_text(json.dumps(content, indent=2, sort_keys=True))
