"""A JSONL file in, the same rows with some fields de-identified out, all of them or none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preceptor.errors import InputError
from preceptor.files.jsonl import read_jsonl, write_jsonl
from preceptor.privacy.scrub import Held, Scrubber, load_scrubber

_BATCH = 32


@dataclass(frozen=True, slots=True)
class FileReport:
    """What was done; `str()` of it is one sentence."""

    rows: int
    findings: Mapping[str, int]
    output_path: Path

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.findings.items())) or "none"
        return f"{self.rows} rows are in {self.output_path}; identifiers removed: {kinds}."


def scrub_file(
    input_path: Path,
    output_path: Path,
    fields: Sequence[str],
    *,
    progress: Callable[[int, int], None] | None = None,
    scrubber: Scrubber | None = None,
) -> FileReport:
    """De-identify the named fields of every row and write the rows to another file in one step.

    The fields of one row are scrubbed together: the same value gets the same placeholder in each.

    Raises:
        InputError: the input is missing, empty or half-written, a named field is not text, or a row cannot be
            de-identified; the message names the line, and nothing is written.
        ModelError: the entity model is missing.
        StorageError: the output cannot be written.
    """
    if not fields:
        raise InputError("Name at least one field to clean, for example --field text.")
    rows = list(read_jsonl(input_path))
    texts = [_texts(input_path, number, row, fields) for number, row in rows]
    loaded = scrubber or load_scrubber()
    findings: Counter[str] = Counter()
    pairs = list(zip(rows, texts, strict=True))

    def cleaned() -> Iterator[dict[str, Any]]:
        for first in range(0, len(rows), _BATCH):
            chunk = pairs[first : first + _BATCH]
            outcomes = loaded.scrub_records([values for _, values in chunk])
            for ((number, row), _), outcome in zip(chunk, outcomes, strict=True):
                if isinstance(outcome, Held):
                    raise InputError(f"{input_path}, line {number}: {outcome.reason} Nothing was written.")
                findings.update(item.kind.value for scrubbed in outcome.values() for item in scrubbed.findings)
                yield {**row, **{name: scrubbed.text for name, scrubbed in outcome.items()}}
            if progress is not None:
                progress(first + len(chunk), len(rows))

    count = write_jsonl(output_path, cleaned())
    return FileReport(count, dict(findings), output_path)


def _texts(path: Path, number: int, row: Mapping[str, Any], fields: Sequence[str]) -> dict[str, str]:
    """Return the texts to clean; a null stays null, anything else that is not text is an error."""
    found: dict[str, str] = {}
    for name in fields:
        if name not in row:
            raise InputError(f"{path}, line {number}: the field '{name}' is missing. Add it or name another field.")
        if row[name] is None:
            continue
        if not isinstance(row[name], str):
            raise InputError(f"{path}, line {number}: the field '{name}' is not text. Correct it and run again.")
        found[name] = row[name]
    return found
