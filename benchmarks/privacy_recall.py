"""The shared de-identification sets and our own clinical cases in, recall by kind and what was kept out.

    python benchmarks/privacy_recall.py --data ../shared/data [--show-misses]

Full recall: every letter and digit of the identifier is gone. Kept: words outside any identifier left as they were.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preceptor.privacy.scrub import SCRUBBER_VERSION, Held, load_scrubber

CASES = Path(__file__).parents[1] / "tests" / "privacy" / "clinical_cases.txt"
NOT_IDENTIFIERS = {"DATE_TIME", "NRP", "TITLE", "AGE"}
"""Labels of the general-language set that are mostly not Safe Harbor identifiers (bare years, weekdays, jobs)."""


@dataclass
class Example:
    """A text, its identifiers (kind, start, end) and the clinical spans that must stay."""

    text: str
    spans: list[tuple[str, int, int]]
    keep: list[tuple[int, int]] = field(default_factory=list)


def asq_phi(folder: Path) -> Iterator[Example]:
    with gzip.open(folder / "asq-phi" / "queries_dev.jsonl.gz", "rt") as lines:
        for line in lines:
            row = json.loads(line)
            text = row["query"]
            spans = []
            for item in row["phi"]:
                for match in re.finditer(re.escape(item["value"]), text):
                    spans.append((item["identifier_type"], match.start(), match.end()))
            yield Example(text, spans)


def presidio(folder: Path) -> Iterator[Example]:
    with gzip.open(folder / "presidio-research" / "synth_dataset_v2.json.gz", "rt") as stream:
        for row in json.load(stream):
            spans = [
                (span["entity_type"], span["start_position"], span["end_position"])
                for span in row["spans"]
                if span["entity_type"] not in NOT_IDENTIFIERS
            ]
            yield Example(row["full_text"], spans)


def own_cases(path: Path = CASES) -> Iterator[Example]:
    """Read `{{KIND:identifier}}` and `{{KEEP:clinical term}}` marks, one text a line."""
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            yield read_case(line.replace("\\n", "\n"))


def read_case(line: str) -> Example:
    text, spans, keep, position = "", [], [], 0
    for match in re.finditer(r"\{\{(\w+):(.+?)\}\}", line, re.DOTALL):
        text += line[position : match.start()]
        start = len(text)
        text += match.group(2)
        if match.group(1) == "KEEP":
            keep.append((start, len(text)))
        else:
            spans.append((match.group(1), start, len(text)))
        position = match.end()
    return Example(text + line[position:], spans, keep)


def measure(examples: list[Example], scrubber: Any, *, show: bool = False) -> dict[str, Any]:
    """Return recall by kind, overall recall, leaking texts, words kept, marked terms kept, characters a second."""
    hits: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    leaking = kept = words = marked = marked_kept = held = 0
    started = time.perf_counter()
    outcomes = scrubber.scrub_records([{"text": example.text} for example in examples])
    seconds = time.perf_counter() - started
    for example, outcome in zip(examples, outcomes, strict=True):
        if isinstance(outcome, Held):
            held += 1
            continue
        covered = bytearray(len(example.text))
        for finding in outcome["text"].findings:
            covered[finding.start : finding.end] = b"\1" * (finding.end - finding.start)
        leak = False
        gold = bytearray(len(example.text))
        for kind, start, end in example.spans:
            gold[start:end] = b"\1" * (end - start)
            totals[kind] += 1
            if all(covered[i] for i in range(start, end) if example.text[i].isalnum()):
                hits[kind] += 1
            else:
                leak = True
                if show:
                    print(
                        "MISS",
                        kind,
                        repr(example.text[start:end]),
                        "|",
                        repr(example.text[max(0, start - 50) : end + 30]),
                    )
        leaking += leak
        for match in re.finditer(r"\w+", example.text):
            if not any(gold[match.start() : match.end()]):
                words += 1
                kept += not any(covered[match.start() : match.end()])
        for start, end in example.keep:
            marked += 1
            good = not any(covered[start:end])
            marked_kept += good
            if show and not good:
                print("LOST", repr(example.text[start:end]), "|", repr(example.text))
        if show:
            for finding in outcome["text"].findings:
                if not any(gold[finding.start : finding.end]):
                    print(
                        "OVER",
                        finding.kind,
                        finding.detector,
                        repr(example.text[finding.start : finding.end]),
                        "|",
                        repr(example.text[max(0, finding.start - 30) : finding.end + 20]),
                    )
    total = sum(totals.values())
    recall = sum(hits.values()) / max(total, 1)
    return {
        "texts": len(examples),
        "spans": total,
        "recall": recall,
        "interval": 1.96 * math.sqrt(recall * (1 - recall) / max(total, 1)),
        "leaking": leaking / max(len(examples), 1),
        "words_kept": kept / max(words, 1),
        "terms_kept": marked_kept / marked if marked else None,
        "terms": marked,
        "held": held,
        "characters_per_second": sum(len(example.text) for example in examples) / seconds,
        "by_kind": {kind: (hits[kind], totals[kind]) for kind in sorted(totals)},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--set", default="")
    parser.add_argument("--show-misses", action="store_true")
    args = parser.parse_args()
    scrubber = load_scrubber()
    print(f"scrubber {SCRUBBER_VERSION}")
    sets = {
        "own clinical cases": lambda: own_cases(),
        "asq-phi dev": lambda: asq_phi(args.data),
        "presidio-research": lambda: presidio(args.data),
    }
    for name, read in sets.items():
        if args.set and args.set not in name:
            continue
        if name != "own clinical cases" and not args.data.is_dir():
            print(f"{name}: skipped, {args.data} is not here")
            continue
        result = measure(list(read()), scrubber, show=args.show_misses)
        print(f"\n## {name}: {result['texts']} texts, {result['spans']} identifiers")
        recall = f"{result['recall']:.3f} +- {result['interval']:.3f}"
        print(f"full recall {recall}; texts leaking {result['leaking']:.3f}; held {result['held']}")
        kept = (
            f"; marked clinical terms kept {result['terms_kept']:.3f} of {result['terms']}" if result["terms"] else ""
        )
        print(f"other words kept {result['words_kept']:.4f}{kept}; {result['characters_per_second']:.0f} characters/s")
        for kind, (hit, total) in result["by_kind"].items():
            print(f"  {kind:32} {hit}/{total}  {hit / total:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
