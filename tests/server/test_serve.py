"""The server as a process: it starts without torch, answers, and stops when told to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import httpx

from preceptor.settings import Settings

PROGRAM = """
import sys
from preceptor.server.serve import serve
from preceptor.settings import load_settings
try:
    serve(load_settings())
finally:
    print("torch" in sys.modules)
"""


def test_the_server_starts_without_torch_and_stops_cleanly(settings: Settings) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "PRECEPTOR_DATABASE_URL": str(settings.database_url),
        "PRECEPTOR_HOME": str(settings.home),
        "PRECEPTOR_PORT": str(port),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/readyz", params={"q": "CANARY"})
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline, "the server did not answer in a minute"
                assert process.poll() is None, process.communicate()[0]
                time.sleep(0.1)
        assert answer.json() == {"status": "ok", "database": "ok"}
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=30)[0]
    finally:
        process.kill()
    assert process.returncode == 0
    assert output.strip().endswith("False"), output
    assert "CANARY" not in output
