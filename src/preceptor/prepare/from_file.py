"""A JSONL file of feedback, preferences or ready pairs in, a de-identified dataset of pairs out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from preceptor.errors import DataError, InputError
from preceptor.files.jsonl import read_jsonl
from preceptor.files.labels import TIE
from preceptor.prepare.dataset import RATER_SHARE, Prepared, prepare, to_dataset_dict
from preceptor.prepare.file_rows import parse_row
from preceptor.prepare.pairs import Judgement, Pair, cap_raters, prompt_key, same_text
from preceptor.prepare.splits import Split, split_prompts
from preceptor.prepare.ties import make_ties
from preceptor.privacy.scrub import Held, Scrubber, load_scrubber

if TYPE_CHECKING:
    from datasets import DatasetDict

_BATCH = 32
Progress = Callable[[int, int], None]


def prepare_preference_dataset(feedback_file: str | Path) -> DatasetDict:
    """Make preference pairs of a JSONL file of feedback rows, preference rows, ready pairs, or a mix of them.

    Texts are de-identified. The result has the splits `train`, `test` and, where there is enough, `validation`, each
    with the columns `prompt, chosen, rejected, metadata`; all pairs of one prompt are in one split.

    Raises:
        InputError: the file is missing, empty or half-written, or a row is not usable; names file and line.
        DataError: the rows make no pairs, or pairs for one prompt only.
        ModelError: the model for de-identification is not installed.
    """
    return to_dataset_dict(prepare_file(Path(feedback_file)).pair_rows())


def prepare_file(
    path: Path, *, seed: int = 42, scrubber: Scrubber | None = None, progress: Progress | None = None
) -> Prepared:
    """Do the same and return it in memory, with ties, single labels and prompts."""
    raters: dict[str, str] = {}
    judgements: list[Judgement] = []
    pairs: list[tuple[Pair, Split | None]] = []
    rows = list(read_jsonl(path))
    parsed = [parse_row(path, number, row, raters) for number, row in rows]
    cleaned = _clean(path, [(number, item) for (number, _), item in zip(rows, parsed, strict=True)], scrubber, progress)
    for item in cleaned:
        if isinstance(item, Judgement):
            judgements.append(item)
        else:
            pairs.append(item)
    try:
        if not pairs:
            return prepare(judgements, seed=seed)
        return _with_ready_pairs(pairs, judgements, seed)
    except DataError as error:
        where = f"{path}, line {rows[0][0]}" if len(rows) == 1 else str(path)
        raise DataError(f"{where}: {error.message}") from None


def _with_ready_pairs(ready: list[tuple[Pair, Split | None]], judgements: list[Judgement], seed: int) -> Prepared:
    """Split ready pairs as their file says where it says it for all of them, else by prompt; ties go with them."""
    made = _made(judgements, seed)
    different = [(pair, split) for pair, split in ready if not same_text(pair.chosen, pair.rejected)]
    decided = [(pair, split) for pair, split in different if pair.label != TIE]
    tied = [(pair, split) for pair, split in different if pair.label == TIE]
    if not decided and made is None:
        what = "every row is a tie" if different else "in every row chosen and rejected are the same text"
        raise DataError(f"{what}, so there is nothing to learn.")
    own = {prompt_key(pair.prompt): split for pair, split in decided}
    consistent = all(own[prompt_key(pair.prompt)] == split for pair, split in decided)
    pairs = [pair for pair, _ in decided] + ([pair for pair, _ in made.pairs] if made else [])
    given = None not in own.values() and {"train", "test"} <= set(own.values()) and consistent and made is None
    splits = cast("dict[str, Split]", own) if given else split_prompts((pair.prompt for pair in pairs), seed=seed)
    ties = [tie for tie, _ in tied] + cap_raters(make_ties(judgements), share=RATER_SHARE)
    if given:  # a tie of a prompt without pairs keeps its split too
        splits = {prompt_key(tie.prompt): split for tie, split in tied if split is not None} | splits

    def side(prompt: str) -> Split:
        return splits.get(prompt_key(prompt), "train")

    return Prepared(
        pairs=tuple((pair, side(pair.prompt)) for pair in pairs),
        unpaired=tuple((item, side(item.prompt)) for item, _ in (made.unpaired if made else ())),
        prompts=tuple((prompt, side(prompt)) for prompt in dict.fromkeys(pair.prompt for pair in (*pairs, *ties))),
        judgements=len(ready) + (len(judgements) if made or ties else 0),
        ties=tuple((tie, side(tie.prompt)) for tie in ties),
    )


def _made(judgements: list[Judgement], seed: int) -> Prepared | None:
    """The dataset of the judgements beside ready pairs; None where they make none of their own."""
    try:
        return prepare(judgements, seed=seed)
    except DataError:
        return None


def _clean(
    path: Path,
    items: list[tuple[int, Judgement | tuple[Pair, Split | None]]],
    scrubber: Scrubber | None,
    progress: Progress | None,
) -> list[Judgement | tuple[Pair, Split | None]]:
    """De-identify every row, its texts together; one that cannot be cleaned stops the file."""
    loaded = scrubber or load_scrubber()
    found: list[Judgement | tuple[Pair, Split | None]] = []
    for first in range(0, len(items), _BATCH):
        chunk = items[first : first + _BATCH]
        outcomes = loaded.scrub_records([_texts(item) for _, item in chunk])
        for (number, item), outcome in zip(chunk, outcomes, strict=True):
            if isinstance(outcome, Held):
                raise InputError(f"{path}, line {number}: {outcome.reason}")
            texts: dict[str, Any] = {name: scrubbed.text for name, scrubbed in outcome.items()}
            if isinstance(item, Judgement):
                found.append(replace(item, **texts))
            else:
                found.append((replace(item[0], **texts), item[1]))
        if progress is not None:
            progress(first + len(chunk), len(items))
    return found


def _texts(item: Judgement | tuple[Pair, Split | None]) -> dict[str, str]:
    if isinstance(item, Judgement):
        fields = {name: getattr(item, name) for name in ("prompt", "response_a", "response_b", "correction")}
        return {name: text for name, text in fields.items() if text}
    return {"prompt": item[0].prompt, "chosen": item[0].chosen, "rejected": item[0].rejected}
