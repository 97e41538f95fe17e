"""The progress of a job or of a transfer in, a live line on a terminal out; plain lines where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn

from preceptor.cloud.runner import JobStatus


@contextmanager
def job_bar(name: str, *, console: Console | None = None) -> Iterator[Callable[[JobStatus], None]]:
    """Yield a function that shows a job's state, its backend's own words and its seconds of work, up to its limit."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield _plain(name, console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        TextColumn("{task.fields[seconds]:.0f} s of work"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(name, total=None, state="", seconds=0.0)

        def report(status: JobStatus) -> None:
            words = f"{status.state} ({status.detail})"
            bars.update(task, total=status.limit, completed=status.seconds, state=words, seconds=status.seconds)

        yield report


def _plain(name: str, console: Console) -> Callable[[JobStatus], None]:
    last = ""

    def report(status: JobStatus) -> None:
        nonlocal last
        words = f"{name}  {status.state} ({status.detail})"
        if words != last:  # a log wants the changes, not the looks
            console.print(f"{words}  {status.seconds:.0f} s", highlight=False, soft_wrap=True)
        last = words

    return report


@contextmanager
def byte_bar(title: str, *, console: Console | None = None) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that shows bytes done of a total, which is 0 where it is not known."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield lambda _done, _total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(title, total=None, visible=False)
        yield lambda done, total: bars.update(task, completed=done, total=total or None, visible=True)
