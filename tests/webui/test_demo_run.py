"""`scripts/demo.py` with the real Open WebUI and the sandbox, as processes of their own: about ten seconds each."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import demo
import pytest

pytestmark = pytest.mark.skipif(not demo.BUILT.exists(), reason="openrouter_pipe.py is not built")
LIMIT = 180.0  # seconds


def processes(data: Path) -> dict[int, str]:
    """The running processes that work in this data directory: process id -> command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink() == data:
                found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
        except OSError:  # ended meanwhile, or not ours
            continue
    return found


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A data directory that nothing works in afterwards."""
    yield tmp_path
    assert processes(tmp_path) == {}


def start(data: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the demo on a free port."""
    command = [sys.executable, str(demo.ROOT / "scripts/demo.py"), "--port", "0", "--data", str(data), *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in ("OPENROUTER_API_KEY", "PORT")}
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_once_answers_and_leaves_nothing_behind(data: Path) -> None:
    with start(data, "--once") as process:
        said, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, said
    assert re.search(r"^A: \S", said, re.MULTILINE), said
    assert int(re.search(r"^(\d+) models are listed", said, re.MULTILINE)[1]) > 10  # type: ignore[index]


def wait_for_invitation(process: subprocess.Popen[str]) -> None:
    """Read what it says until it invites to open the address."""
    assert process.stdout
    said = []
    for line in process.stdout:
        said.append(line)
        if "Ctrl-C stops it" in line:
            return
    pytest.fail(f"it ended by itself: {''.join(said)}")


def test_ctrl_c_ends_it_all(data: Path) -> None:
    with start(data) as process:
        wait_for_invitation(process)
        assert len(processes(data)) == 2
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


def test_a_signal_while_it_starts_ends_it_all(data: Path) -> None:
    with start(data) as process:
        deadline = time.monotonic() + LIMIT
        while len(processes(data)) < 2 and time.monotonic() < deadline:
            time.sleep(0.002)  # to meet it at the very start
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=30)
    assert "Stopped." in said
    assert "Ctrl-C stops it" not in said


def test_the_death_of_the_sandbox_ends_it_with_one_line(data: Path) -> None:
    with start(data) as process:
        wait_for_invitation(process)
        sandbox = next(pid for pid, command in processes(data).items() if "openrouter_sandbox" in command)
        os.kill(sandbox, signal.SIGKILL)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "demo: the sandbox died" in said
