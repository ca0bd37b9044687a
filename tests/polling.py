"""Waiting in tests: poll with a limit, never sleep for a guess."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], limit_seconds: float = 10.0) -> T:
    """The first true result of `look`, called again and again; its last result when the limit is over."""
    deadline = time.monotonic() + limit_seconds
    while not (result := look()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return result


async def until(look: Callable[[], Any], seconds: float = 2.0) -> Any:
    """The first true result of `look`, or of what it gives to await for, called again and again. Fails after `seconds`."""
    began = time.monotonic()
    while not (result := (await found) if inspect.isawaitable(found := look()) else found):
        assert time.monotonic() - began < seconds, "it never came true"
        await asyncio.sleep(0.002)
    return result


async def seconds_until(look: Callable[[], Any]) -> float:
    """How long `until` waits."""
    began = time.monotonic()
    await until(look)
    return time.monotonic() - began
