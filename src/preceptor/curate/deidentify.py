"""Judgements in, the same without identifiers out; the same texts are cleaned once, and a failure holds its record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from preceptor.curate.sources import Source
from preceptor.privacy.scrub import Held, Scrubber

_CACHE_RECORDS = 5_000


@dataclass(frozen=True, slots=True)
class Cleaned:
    """The texts of a record after de-identification, and how many identifiers of each kind were removed."""

    texts: Mapping[str, str]
    findings: Mapping[str, int]


class Cleaner:
    """Cleans batches of judgements; several clinicians judge the same answer, so what was cleaned is remembered."""

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber
        self._done: dict[tuple[object, ...], Cleaned | Held] = {}

    def clean(self, sources: Sequence[Source]) -> list[Cleaned | Held]:
        """Return, judgement by judgement, its cleaned texts or why it is held."""
        keys = [(tuple(sorted(source.texts.items())), source.known_identifiers) for source in sources]
        fresh = {key: source for key, source in zip(keys, sources, strict=True) if key not in self._done}
        outcomes = self._scrubber.scrub_records(
            [source.texts for source in fresh.values()], [source.known_identifiers for source in fresh.values()]
        )
        if len(self._done) + len(fresh) > _CACHE_RECORDS:
            self._done = {key: self._done[key] for key in keys if key in self._done}
        for key, outcome in zip(fresh, outcomes, strict=True):
            if isinstance(outcome, Held):
                self._done[key] = outcome
                continue
            counts = Counter(finding.kind.value for text in outcome.values() for finding in text.findings)
            self._done[key] = Cleaned({name: text.text for name, text in outcome.items()}, dict(counts))
        return [self._done[key] for key in keys]
