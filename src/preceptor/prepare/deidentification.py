"""How many records each recognizer cleaned goes in, what a dataset says about its de-identification comes out.

Whoever sends a dataset away asks this record first (`preceptor.cloud.gate`), so it is a file of the dataset: the
artifact's id covers it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def deidentification(records: Mapping[str | None, int]) -> dict[str, Any]:
    """Describe records counted by the version of the scrubber that cleaned them; None counts those it did not clean.

    `fail_closed` is true where every record was cleaned: one that de-identification failed on is held by curate, or
    stops the file it stands in, and is not among them.
    """
    total, scrubbed = sum(records.values()), sum(count for version, count in records.items() if version)
    return {
        "records": total,
        "scrubbed": scrubbed,
        "share_scrubbed": round(scrubbed / total, 6) if total else 0.0,
        "recognizers": {version: count for version, count in sorted(records.items(), key=str) if version},
        "fail_closed": total > 0 and scrubbed == total,
    }
