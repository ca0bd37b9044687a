"""A thousand chats at once in one process: each gets all of its answer, in order, once. `pytest -s` prints the figures."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from polling import until
from starlette.responses import StreamingResponse

from openrouter_pipe.pipe import Pipe
from openrouter_pipe.settings import Settings

STREAMS, DELTAS = 1_000, 200
# Slow enough that the first answer has not ended when the last begins.
PACE_SECONDS = 0.05
LIMIT_SECONDS = 240
SOURCE = Path(__file__).parents[2] / "src"
WORDS = [f"word{number:04d}" for number in range(DELTAS)]
LAG_TICK_SECONDS = 0.01


@pytest.fixture
def many_files() -> None:
    """Each stream is a socket here and one in the sandbox."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = STREAMS + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"this machine allows {hard} open files")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@asynccontextmanager
async def sandbox_process() -> AsyncIterator[str]:
    """A sandbox in a process of its own, so that what is measured is the pipe's: its base URL."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "openrouter_sandbox", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    try:
        assert process.stdout is not None
        yield (await asyncio.wait_for(process.stdout.readline(), 20)).decode().split()[-1]
    finally:
        process.terminate()
        await process.wait()


class Gauge:
    """How late the event loop is, and the most memory, while it runs; memory in kB."""

    def __init__(self) -> None:
        self.lags: list[float] = []
        self.before = self.most = self.resident()

    def resident(self) -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1024

    async def run(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(LAG_TICK_SECONDS)
            self.lags.append(time.perf_counter() - began - LAG_TICK_SECONDS)
            self.most = max(self.most, self.resident())

    def __str__(self) -> str:
        lags = sorted(self.lags)
        middle, late, last = (lags[int(share * (len(lags) - 1))] * 1e3 for share in (0.5, 0.99, 1))
        memory = (self.most - self.before) / STREAMS
        return f"memory {memory:.0f} kB per stream; event loop late by {middle:.0f} ms p50, {late:.0f} p99, {last:.0f} at most"


class Chat:
    """One chat, and what a person got to see of it."""

    def __init__(self) -> None:
        self.text = ""
        self.kinds: Counter[str] = Counter()
        self.open = False

    async def ask(self, pipe: Pipe, more: dict[str, object]) -> None:
        messages = [{"role": "user", "content": "Hi"}]
        answer = await pipe.pipe({"model": "fn.openai.gpt-4o", "stream": True, "messages": messages, **more})
        assert isinstance(answer, StreamingResponse)
        async for item in answer.body_iterator:
            assert isinstance(item, bytes)
            self.read(item)
        self.open = False

    def read(self, item: bytes) -> None:
        if item == b"data: [DONE]\n\n":
            self.kinds["done"] += 1
            return
        event = json.loads(item.removeprefix(b"data: "))
        assert "error" not in event, event
        for choice in event["choices"]:
            self.open = True
            self.text += choice["delta"].get("content", "")
            self.kinds["finish"] += choice["finish_reason"] is not None


async def test_a_thousand_streams_at_once_lose_nothing(many_files: None) -> None:
    async with sandbox_process() as base_url, aiohttp.ClientSession() as session:
        control = base_url.removesuffix("/api/v1") + "/sandbox"
        rule = {"path": "/", "answer": {"deltas": DELTAS, "reasoning": ""}, "pace_seconds": PACE_SECONDS}
        pipe = Pipe()
        pipe.valves = Settings(API_KEY="sk-or-v1-load", BASE_URL=base_url, ENDPOINT="auto", MAX_RETRIES=0)
        assert await pipe.pipes()
        (await session.post(f"{control}/rules", json=rule)).raise_for_status()
        chats, gauge = [Chat() for _ in range(STREAMS)], Gauge()
        gauging, began, cpu = asyncio.create_task(gauge.run()), time.perf_counter(), time.process_time()
        # What only /chat/completions takes sends every other chat there.
        asked = [asyncio.create_task(chat.ask(pipe, {"seed": 1} if at % 2 else {})) for at, chat in enumerate(chats)]
        async with asyncio.timeout(LIMIT_SECONDS):
            await until(lambda: all(chat.open for chat in chats) or any(task.done() for task in asked), LIMIT_SECONDS)
            all_open = sum(chat.open for chat in chats)
            await asyncio.gather(*asked)
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        gauging.cancel()
        async with session.get(f"{control}/received") as reply:
            received = await reply.json()
    print(f"\n{STREAMS:,} streams of {DELTAS} deltas in {took:.1f} s, {cpu:.1f} s of CPU; {gauge}")
    assert all_open == STREAMS, "they were not all open at once"
    assert [at for at, chat in enumerate(chats) if chat.text.split() != WORDS] == []
    assert {(chat.kinds["finish"], chat.kinds["done"]) for chat in chats} == {(1, 1)}
    paths = Counter(request["path"].rpartition("/v1/")[2] for request in received["received"] if request["body"])
    assert paths == {"responses": STREAMS // 2, "chat/completions": STREAMS // 2}
