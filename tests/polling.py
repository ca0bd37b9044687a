"""Waiting in tests: poll with a limit, never sleep for a guess."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], limit_seconds: float = 10.0) -> T:
    """The first true result of `look`, called again and again; its last result when the limit is over."""
    deadline = time.monotonic() + limit_seconds
    while not (result := look()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return result


async def until(condition: Callable[[], object], seconds: float = 2.0) -> float:
    """Wait until it is so (or what it gives to await for is); how long it took. Fails after `seconds`."""
    began = time.monotonic()
    while not ((await result) if inspect.isawaitable(result := condition()) else result):
        assert time.monotonic() - began < seconds, "it never came true"
        await asyncio.sleep(0.002)
    return time.monotonic() - began
