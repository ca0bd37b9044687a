"""Shared by all tests: how hypothesis runs, and a limit for what must never take long."""

from __future__ import annotations

import logging
import signal
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
