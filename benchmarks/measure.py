"""Measures one pipe file, in a process of its own: `python measure.py FILE BASE_URL`. Prints one JSON object.

Times are milliseconds (loading, which waits for nothing: of CPU), memory megabytes; each time is the median of many.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import time
import tracemalloc
import types
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

# What Open WebUI has loaded long before it loads a pipe.
import aiohttp
import orjson
import pydantic  # noqa: F401
import starlette.responses  # noqa: F401
from upstream import KEY

LOADS = 15
COLD_LISTS = 15
WARM_LISTS = 300


def load(source: str, *, compiled: types.CodeType | None = None) -> Any:
    """A new `Pipe` from the file's text, the way Open WebUI makes it: exec in a fresh module."""
    module = types.ModuleType("function_bench")
    sys.modules[module.__name__] = module
    exec(compiled or compile(source, "<string>", "exec"), module.__dict__)  # noqa: S102
    return module.__dict__["Pipe"]()


def loading(source: str) -> dict[str, float]:
    """Time of compile + exec + Pipe(); and what stays in memory, the compiler's own memory aside."""
    load(source)
    times = []
    for _ in range(LOADS):
        gc.collect()
        began = time.process_time()
        load(source)
        times.append(time.process_time() - began)
    compiled = compile(source, "<string>", "exec")
    executing = []
    for _ in range(LOADS):
        gc.collect()
        began = time.process_time()
        load(source, compiled=compiled)
        executing.append(time.process_time() - began)
    gc.collect()
    tracemalloc.start()
    kept = load(source, compiled=compiled)
    gc.collect()
    memory = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del kept
    return {
        "load": statistics.median(times) * 1e3,
        "exec": statistics.median(executing) * 1e3,
        "memory": (memory + sys.getsizeof(compiled)) / 1e6,
    }


async def listing(source: str, base_url: str) -> dict[str, float]:
    """Time of `pipes()`: cold (a new pipe, nothing cached), and warm with as many variants as models."""

    def fresh(variants: str = "") -> Any:
        pipe = load(source)
        pipe.valves = pipe.Valves(API_KEY=KEY, BASE_URL=base_url, VARIANT_MODELS=variants)
        return pipe

    pipe = fresh("*:nitro")
    entries = len(await pipe.pipes())
    stored = pipe.valves.model_dump(include={"API_KEY", "BASE_URL", "VARIANT_MODELS"})

    async def warm() -> None:
        # Open WebUI makes new valves before each call; that is part of neither pipe.
        await pipe.pipes()

    warm_times = []
    for _ in range(WARM_LISTS):
        pipe.valves = pipe.Valves(**stored)
        warm_times.append(await timed(warm))
    cold_times, get_times = [], []
    for _ in range(COLD_LISTS):
        get_times.append(await timed(lambda: bare_get(base_url)))
        made = fresh("*:nitro")
        cold_times.append(await timed(made.pipes))
        # What a pipe does behind its list must not fall into the next measurement.
        if behind := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(behind, timeout=1)
    return {
        "entries": entries,
        "warm": statistics.median(warm_times) * 1e3,
        "cold": (statistics.median(cold_times) - statistics.median(get_times)) * 1e3,
        "get": statistics.median(get_times) * 1e3,
    }


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Seconds that `work` takes."""
    gc.collect()
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def bare_get(base_url: str) -> None:
    """What no pipe can avoid for a cold list: a new connection, one GET, the body read and parsed."""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{base_url}/models/user", headers=headers) as response,
    ):
        orjson.loads(await response.read())


if __name__ == "__main__":
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    print(json.dumps({**loading(text), **asyncio.run(listing(text, sys.argv[2]))}))
