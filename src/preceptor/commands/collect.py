"""`preceptor collect`: import files of judgements, export what is stored, say what has come in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from preceptor.commands.parsing import choose
from preceptor.commands.stages import run_stage
from preceptor.db.encrypted import make_cipher
from preceptor.db.engine import connect
from preceptor.settings import load_settings
from preceptor.stage import StageContext


def import_judgements(
    file: Positional[Path],
    /,
    kind: Annotated[Literal["auto", "feedback", "preference", "pair"], arg(help="What the file holds.")] = "auto",
    dry_run: Annotated[bool, arg(help="Report what would happen and store nothing.")] = False,
    skip_rejected: Annotated[bool, arg(help="Import the good lines although others are rejected.")] = False,
    anonymous: Annotated[bool, arg(help="Leave out who judged.")] = False,
) -> None:
    """Import JSON lines of feedback, preferences or pairs; importing a file again changes nothing."""
    from preceptor.artifacts.store import ArtifactStore
    from preceptor.collect.config import CollectConfig
    from preceptor.collect.run import import_into

    settings = load_settings()
    engine = connect(settings)
    config = CollectConfig(kind=kind, dry_run=dry_run, skip_rejected=skip_rejected, anonymous=anonymous)
    context = StageContext(settings, engine, ArtifactStore(settings.artifacts_dir))
    report = import_into(config, context, path=file)
    engine.dispose()
    for line in report.shown():
        reason = f": {line['reason']}" if line["reason"] else ""
        print(f"line {line['line']:>6}  {line['status']:<9} {line['id'] or ''}{reason}")
    counts = ", ".join(f"{count} {status}" for status, count in report.counts().items())
    print(f"{report.kind}: {counts}{' (dry run: nothing was stored)' if dry_run else ''}")


def export(
    file: Positional[Path],
    /,
    kind: Annotated[Literal["feedback", "preferences"], arg(help="Which judgements.")] = "feedback",
    detail: Annotated[bool, arg(help="Everything that is known, instead of the seed document's record.")] = False,
) -> None:
    """Write the stored judgements as JSON lines: raw clinical text, readable by this account only."""
    from preceptor.collect.export import export_file
    from preceptor.collect.judgements import KINDS

    settings = load_settings()
    engine = connect(settings)
    count = export_file(engine, make_cipher(settings), kind=KINDS[kind], path=file, detail=detail)
    engine.dispose()
    print(f"{count} rows are in {file}. They hold raw clinical text.")


def _status(words: list[str]) -> None:
    run_stage("collect", words)


def main(words: list[str]) -> None:
    if words and words[0] == "status":
        _status(words[1:])
        return
    choose(
        {
            "import": (import_judgements, "FILE: feedback, preferences or pairs as JSON lines"),
            "export": (export, "FILE: what is stored, as JSON lines"),
            "status": (_status, "what has come in, and what may train a model"),
        },
        words,
        prog="collect",
    )
