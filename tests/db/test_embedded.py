"""The embedded server is shared by processes, and stopped by the last of them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

START = "import sys; from pathlib import Path; from preceptor.db.embedded import start_embedded; "
STAY = START + "start_embedded(Path(sys.argv[1])); print('up', flush=True); sys.stdin.read()"
LEAVE = START + "start_embedded(Path(sys.argv[1]))"


def test_a_killed_process_does_not_keep_the_server_running_for_good(tmp_path: Path) -> None:
    def start(code: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", code, str(tmp_path)]
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    killed, stays = start(STAY), start(STAY)
    assert [killed.stdout and killed.stdout.readline(), stays.stdout and stays.stdout.readline()] == ["up\n", "up\n"]
    server = psutil.Process(int((tmp_path / "pg" / "postmaster.pid").read_text().split()[0]))
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert start(LEAVE).wait(60) == 0
    assert server.is_running()  # one that lives shares it
    stays.communicate("")
    deadline = time.monotonic() + 20
    while server.is_running() and server.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
