"""Shared by all tests: how hypothesis runs, a limit for what must never take long, and a Redis."""

from __future__ import annotations

import logging
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from types import FrameType

import pytest
from hypothesis import settings

# No deadline: a busy machine must not fail a property.
settings.register_profile("project", deadline=None, max_examples=200)
settings.load_profile("project")
# It warns when the machine is short of inotify watches, and tests that count warnings mean the pipe's.
logging.getLogger("aiodns").setLevel(logging.ERROR)


@pytest.fixture
def not_forever() -> Iterator[None]:
    """Fails a test that has not ended after 30 s (a hundred times what it needs), instead of hanging the run."""

    def give_up(_signal: int, _frame: FrameType | None) -> None:
        pytest.fail("still at work after 30 s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def redis_port() -> Iterator[int]:
    """A Redis of its own, which keeps nothing."""
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    process = subprocess.Popen(
        [server, "--port", str(port), "--save", "", "--appendonly", "no"], stdout=subprocess.DEVNULL
    )
    yield port
    process.terminate()
    process.wait(10)
