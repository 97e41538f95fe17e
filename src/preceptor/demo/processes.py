"""Settings in, a running server and worker out; both are child processes that end with the demo."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import sqlalchemy as sa

from preceptor.errors import StorageError
from preceptor.jobs.processes import child_environment
from preceptor.settings import Settings

_START_SECONDS = 60.0


@dataclass(frozen=True)
class Installation:
    """The running processes of the demo. `url` is the server's address."""

    url: str
    server: subprocess.Popen[bytes]
    worker: subprocess.Popen[bytes]


@contextmanager
def installation(settings: Settings, engine: sa.Engine, *, port: int) -> Iterator[Installation]:
    """Start server and worker, wait until the server answers, stop both at the end.

    Raises:
        StorageError: the server did not come up; the message names its log.
    """
    chosen = port or _free_port(settings.host, settings.port)
    environment = child_environment(settings, engine) | {"PRECEPTOR_PORT": str(chosen)}
    settings.logs_dir.mkdir(parents=True, exist_ok=True)
    server = _start("serve", environment, settings.logs_dir / "server.log")
    worker = _start("worker", environment, settings.logs_dir / "worker.log")
    try:
        url = f"http://{settings.host}:{chosen}"
        _wait_until_ready(url, server, settings.logs_dir / "server.log")
        yield Installation(url, server, worker)
    finally:
        for process in (worker, server):
            _stop(process)


def _start(command: str, environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "preceptor", command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _free_port(host: str, preferred: int) -> int:
    for port in range(preferred, preferred + 50):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise StorageError(f"No free port from {preferred} to {preferred + 49} on {host}. Name one with --port.")


def _wait_until_ready(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/readyz", timeout=2.0).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise StorageError(f"The server did not come up at {url}. Its log is {log}.")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=45)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
