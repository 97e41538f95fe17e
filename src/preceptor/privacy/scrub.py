"""Clinical records in, the same records without identifiers out, or held: nothing passes through a failure.

The same value has the same placeholder in every field of a record, so a prompt and its answers stay comparable, and a
new one in the next record, so nothing links two. Scrubbing what was scrubbed changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from preceptor.errors import DataError
from preceptor.privacy.detect import Field, KnownValue, detect
from preceptor.privacy.entities import MODEL_VERSION, load_entity_model, recognize
from preceptor.privacy.identifiers import Scrubbed
from preceptor.privacy.normalize import View, normalize
from preceptor.privacy.replacement import Replaced, Tokens

SCRUBBER_VERSION = f"1.0.1+en_core_web_sm-{MODEL_VERSION}"
"""Changes whenever the same text may come out differently; part of every cache key and manifest."""

MAX_CHARACTERS = 100_000
_PASSES = 6


class ScrubError(DataError):
    """A record could not be de-identified and must be held."""


@dataclass(frozen=True, slots=True)
class Held:
    """A record that was not de-identified; the reason names no text."""

    reason: str


class Scrubber:
    """The loaded detectors; make one with `load_scrubber` and share it."""

    version = SCRUBBER_VERSION

    def __init__(self, model: Any) -> None:
        self._model = model

    def scrub_text(self, text: str, known_values: Iterable[KnownValue] = ()) -> Scrubbed:
        """De-identify one text.

        Raises:
            ScrubError: it could not be done; the text must not be used.
        """
        return self.scrub_record({"text": text}, known_values)["text"]

    def scrub_record(self, fields: Mapping[str, str], known_values: Iterable[KnownValue] = ()) -> dict[str, Scrubbed]:
        """De-identify the fields of one record together, the same value always by the same placeholder.

        Raises:
            ScrubError: it could not be done; the record must not be used.
        """
        try:
            return _Record(fields, known_values).settle(self._model)
        except ScrubError:
            raise
        except Exception as error:
            raise ScrubError(f"De-identification failed ({type(error).__name__}); the record is held.") from error

    def scrub_records(
        self, records: Sequence[Mapping[str, str]], known_values: Sequence[Iterable[KnownValue]] | None = None
    ) -> list[dict[str, Scrubbed] | Held]:
        """De-identify many records in one batch; one that fails is held and the rest go on."""
        known = known_values if known_values is not None else [()] * len(records)
        outcomes: list[dict[str, Scrubbed] | Held] = []
        try:
            states = [_Record(fields, values) for fields, values in zip(records, known, strict=True)]
            _settle_all(states, self._model)
            return [state.result() for state in states]
        except Exception:  # one bad record must not hold its neighbors: take them one by one
            for fields, values in zip(records, known, strict=True):
                try:
                    outcomes.append(self.scrub_record(fields, values))
                except ScrubError as error:
                    outcomes.append(Held(error.message))
        return outcomes


def load_scrubber() -> Scrubber:
    """Load the detectors, about a second.

    Raises:
        ModelError: the entity model is missing or is not the pinned one.
    """
    return Scrubber(load_entity_model())


class _Record:
    """One record on its way: what is replaced so far, by field, and the numbers given out."""

    def __init__(self, fields: Mapping[str, str], known_values: Iterable[KnownValue]) -> None:
        for name, text in fields.items():
            if len(text) > MAX_CHARACTERS:
                raise ScrubError(
                    f"The field {name} has {len(text)} characters, more than the {MAX_CHARACTERS} that are "
                    "de-identified at once; split it."
                )
        self.fields = [Replaced(name, text) for name, text in fields.items()]
        self.known = list(known_values)
        self.tokens = Tokens(fields.values())
        self.done = False

    def settle(self, model: Any) -> dict[str, Scrubbed]:
        _settle_all([self], model)
        return self.result()

    def result(self) -> dict[str, Scrubbed]:
        if not self.done:
            raise ScrubError(f"De-identification did not settle in {_PASSES} passes; the record is held.")
        return {field.name: Scrubbed(field.current, tuple(field.findings())) for field in self.fields}

    def advance(self, views: Sequence[View], entities: Sequence[Sequence[tuple[str, int, int]]]) -> None:
        """Replace what one pass found; a pass that finds nothing ends the work."""
        found = detect([Field(view.text, spans) for view, spans in zip(views, entities, strict=True)], self.known)
        self.done = not any(found)
        for field, view, findings in zip(self.fields, views, found, strict=True):
            field.replace(
                [
                    replace(item, start=view.span(item.start, item.end)[0], end=view.span(item.start, item.end)[1])
                    for item in findings
                ],
                self.tokens,
            )


def _settle_all(records: Sequence[_Record], model: Any) -> None:
    """Pass over the records until nothing more is found: what comes out is what would come out again."""
    for _ in range(_PASSES):
        waiting = [record for record in records if not record.done]
        if not waiting:
            return
        views = [[normalize(field.current) for field in record.fields] for record in waiting]
        spans = recognize(model, (view.text for record in views for view in record))
        for record, fields in zip(waiting, views, strict=True):
            record.advance(fields, [next(spans) for _ in fields])
