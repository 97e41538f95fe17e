"""`python -m app.rlhf.prepare_dataset`: a feedback database or file goes in, a JSONL file of pairs comes out."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    import preceptor  # noqa: F401  (installed, or on the path already)
except ModuleNotFoundError:  # a source checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))

from preceptor.commands.seed import run_seed_command
from preceptor.errors import ConfigError, InputError
from preceptor.files.atomic import require_place

if TYPE_CHECKING:
    from datasets import DatasetDict

DEFAULT_OUTPUT = "rlhf/data/preferences.jsonl"


def prepare_preference_dataset(feedback_file: str | Path) -> DatasetDict:
    """Make de-identified preference pairs of a JSONL file of feedback, preferences or pairs, split by prompt."""
    from preceptor.prepare.from_file import prepare_preference_dataset as prepare

    return prepare(feedback_file)


def prepare_from_database(
    database_url: str | None,
    output: str | Path = DEFAULT_OUTPUT,
    *,
    curate: dict[str, Any] | None = None,
    **config: Any,
) -> str:
    """Migrate, curate and prepare a database of feedback and write the dataset; returns one sentence.

    Without an address, the database is the embedded one of PRECEPTOR_HOME.
    `curate` takes any field of CurateConfig and `config` any of PrepareConfig.
    """
    from preceptor.artifacts.store import ArtifactStore
    from preceptor.curate.run import mark_processed
    from preceptor.db.engine import make_engine, session_scope
    from preceptor.files.jsonl import read_jsonl
    from preceptor.pipeline import parse_config
    from preceptor.prepare import files
    from preceptor.runs import run_stage_now
    from preceptor.settings import load_settings
    from preceptor.terminal import terminal_progress

    settings = load_settings(database_url=database_url)
    configs = {"curate": parse_config("curate", curate or {}), "prepare": parse_config("prepare", config)}
    results = {}
    for stage, values in configs.items():
        with terminal_progress(stage) as progress:
            results[stage] = run_stage_now(settings, stage, values, progress=progress)
    artifact = ArtifactStore(settings.artifacts_dir).open(str(results["prepare"].artifact_id))
    rows = {
        name: [row for _, row in read_jsonl(artifact.path / name, may_be_empty=True)]
        for name in (files.PAIRS, files.TIES, files.PROMPTS, files.UNPAIRED, files.SOURCES)
    }
    files.export_dataset(
        Path(output),
        pairs=rows[files.PAIRS],
        prompts=rows[files.PROMPTS],
        unpaired=rows[files.UNPAIRED],
        ties=rows[files.TIES],
        about={"artifact_id": artifact.id, "sources": rows[files.SOURCES], **artifact.metadata},
    )
    engine = make_engine(settings)
    try:
        with session_scope(engine) as session:
            mark_processed(session)
    finally:
        engine.dispose()
    return f"{results['curate'].summary} {results['prepare'].summary} They are in {output}."


def prepare_from_file(feedback_file: str | Path, output: str | Path = DEFAULT_OUTPUT, *, seed: int = 42) -> str:
    """Prepare a JSONL file and write the dataset; returns one sentence."""
    from preceptor.prepare.deidentification import deidentification
    from preceptor.prepare.files import export_dataset
    from preceptor.prepare.from_file import prepare_file
    from preceptor.privacy.scrub import SCRUBBER_VERSION
    from preceptor.terminal import terminal_progress

    with terminal_progress("prepare") as progress:
        report = lambda done, total: progress(done, total, {})  # noqa: E731 - an adapter of one line
        prepared = prepare_file(Path(feedback_file), seed=seed, progress=report)
    counts = prepared.counts()
    export_dataset(
        Path(output),
        pairs=prepared.pair_rows(),
        prompts=prepared.prompt_rows(),
        unpaired=prepared.unpaired_rows(),
        ties=prepared.tie_rows(),
        about={
            "counts": counts,
            "sources": prepared.members(),
            "scrubber_version": SCRUBBER_VERSION,
            "deidentification": deidentification({SCRUBBER_VERSION: prepared.judgements}),  # a row it fails on stops it
        },
    )
    return f"{counts['pairs']} pairs from {counts['judgements']} rows are in {output}."


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and prepare. Returns 0, 1 for an error told in one sentence, 130 when stopped."""
    return run_seed_command(_parser(), _prepare, arguments)


def _prepare(given: argparse.Namespace) -> str:
    url = given.feedback_db or (None if given.feedback_file else _url_from_environment())
    if given.feedback_file and given.feedback_db:
        raise InputError("Give --feedback-db or --feedback-file, not both.")
    require_place(Path(given.output))
    if given.feedback_file:
        return prepare_from_file(given.feedback_file, given.output, seed=given.seed)
    if url is None and not _has_embedded_database():
        raise ConfigError(
            "No feedback is named. Give --feedback-db postgresql://user@host/name (or set FEEDBACK_DB, which keeps a "
            "password out of the process list), or --feedback-file FILE; or set PRECEPTOR_HOME to a folder that holds "
            "an embedded database."
        )
    names = ("agent_name", "include_simulated", "minimum_gap", "test_share", "validation_share", "seed")
    config = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
    return prepare_from_database(url, given.output, curate={"agent_name": given.agent_name}, **config)


def _url_from_environment() -> str | None:
    return next(
        (
            os.environ[name]
            for name in ("FEEDBACK_DB", "DATABASE_URL", "PRECEPTOR_DATABASE_URL")
            if os.environ.get(name)
        ),
        None,
    )


def _has_embedded_database() -> bool:
    from preceptor.settings import load_settings

    return (load_settings().home / "pg" / "PG_VERSION").is_file()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="prepare_dataset", description="Make preference pairs of clinicians' feedback."
    )
    parser.add_argument(
        "--feedback-db",
        help="PostgreSQL address (default: FEEDBACK_DB, DATABASE_URL, or the embedded database of PRECEPTOR_HOME)",
    )
    parser.add_argument("--feedback-file", help="JSONL file of feedback, preferences or pairs, instead of a database")
    parser.add_argument("--output", default=DEFAULT_OUTPUT, help=f"JSONL file to write (default {DEFAULT_OUTPUT})")
    parser.add_argument("--agent-name", help="judgements of one agent only")
    parser.add_argument("--include-simulated", action="store_true", default=None, help="also simulated clinicians")
    parser.add_argument("--minimum-gap", type=int, help="stars between two answers that make a pair (default 2)")
    parser.add_argument("--test-share", type=float, help="share of the prompts held out (default 0.2)")
    parser.add_argument("--validation-share", type=float, help="share of the prompts for validation (default 0.1)")
    parser.add_argument("--seed", type=int, default=42, help="seed of the split (default 42)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
