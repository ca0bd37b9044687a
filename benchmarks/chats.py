"""Measures chats with one pipe file beside a plain read of the same streams ("raw"), in a process of its own:
`python chats.py FILE BASE_URL KIND ROUNDS`. Prints one JSON object.

KIND is `turns` (one chat at a time, raw and pipe in turn), or `raw` or `pipe` (many chats at once). Raw sends the very
request that the pipe sent, and reads the answer line by line with aiohttp, without parsing any of it. CPU is this process's
own time; all times are milliseconds, memory megabytes.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import statistics
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from measure import load
from upstream import FIRST, KEY, Upstream, ratio

SHORT, LONG = 20, 2000
SHORT_CHATS = 150
LONG_CHATS = 3  # a round
CROWD, CROWD_DELTAS, CROWD_PACE = 200, 50, 0.02


class Chat(NamedTuple):
    """How one chat went: ms from the question to the first delta, and the pieces that came."""

    first: float
    pieces: int


Client = Callable[[], Coroutine[Any, Any, Chat]]


async def emit(_event: object) -> None:
    """Stands in for Open WebUI's way to the browser."""


class Caller:
    """The pipe, called the way Open WebUI does. What the host makes for each call is made once, ahead of the clock."""

    def __init__(self, source: str, base_url: str) -> None:
        self.pipe = load(source)
        self.pipe.valves = self.pipe.Valves(API_KEY=KEY, BASE_URL=base_url)
        user: dict[str, Any] = {"id": "user-1", "name": "Jo", "email": "jo@example.com", "role": "admin"}
        if hasattr(self.pipe, "UserValves"):
            user["valves"] = self.pipe.UserValves()
        ids = {"chat_id": "chat-1", "message_id": "message-1", "session_id": "session-1"}
        known: dict[str, object] = {f"__{name}__": value for name, value in ids.items()} | {
            "__user__": user,
            "__metadata__": {**ids, "user_id": "user-1"},
            "__event_emitter__": emit,
            "__task__": None,
            "__files__": [],
            "__tools__": {},
        }
        wanted = inspect.signature(self.pipe.pipe).parameters
        self._arguments = {name: value for name, value in known.items() if name in wanted}
        self._model = ""

    async def start(self) -> None:
        """Ask for the list; the chats are with its first model."""
        self._model = f"bench.{(await self.pipe.pipes())[0]['id']}"

    async def chat(self) -> Chat:
        """One streamed chat."""
        body = {"model": self._model, "messages": [{"role": "user", "content": "Count."}], "stream": True}
        began, first, pieces = time.perf_counter(), 0.0, 0
        answer = await self.pipe.pipe(body, **self._arguments)
        async for piece in getattr(answer, "body_iterator", answer):
            pieces += 1
            if not first and (FIRST if isinstance(piece, bytes) else FIRST.decode()) in piece:
                first = (time.perf_counter() - began) * 1e3
        if not first:
            raise SystemExit("the pipe did not answer: see what it logged")
        return Chat(first, pieces)


class Raw:
    """The plain read."""

    def __init__(self, base_url: str, request: dict[str, Any]) -> None:
        self._url = base_url.removesuffix("/api/v1") + request["path"]
        self._data = json.dumps(request["body"]).encode()
        # What the HTTP client itself adds.
        own = ("host", "content-length", "accept", "accept-encoding", "user-agent")
        self._headers = {name: value for name, value in request["headers"].items() if name.lower() not in own}
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def chat(self) -> Chat:
        """One request, its answer read to the end."""
        began, first, pieces = time.perf_counter(), 0.0, 0
        async with self._session.post(self._url, data=self._data, headers=self._headers) as response:
            async for line in response.content:
                pieces += 1
                if not first and FIRST in line:
                    first = (time.perf_counter() - began) * 1e3
        return Chat(first, pieces)

    async def close(self) -> None:
        """Close its connections."""
        await self._session.close()


async def in_turn(raw: Client, pipe: Client, count: int) -> tuple[list[Chat], list[Chat], list[float]]:
    """So many chats of each, in turn: how they went, and the CPU per chat."""
    chats: tuple[list[Chat], list[Chat]] = ([], [])
    spent = [0.0, 0.0]
    gc.collect()
    for _ in range(count):
        for number, client in enumerate((raw, pipe)):
            began = time.process_time()
            chats[number].append(await client())
            spent[number] += (time.process_time() - began) * 1e3 / count
    return *chats, spent


async def turns(raw: Client, pipe: Client, upstream: Upstream, rounds: int) -> dict[str, float]:
    """Short and long chats, one at a time."""
    short: list[list[float]] = []
    long: list[list[float]] = []
    firsts: tuple[list[float], list[float]] = ([], [])
    connections = chunks = 0
    for number in range(rounds):
        share = SHORT_CHATS * (number + 1) // rounds - SHORT_CHATS * number // rounds
        upstream.answers(SHORT)
        before = upstream.received()["connections"]
        read, piped, spent = await in_turn(raw, pipe, share)
        # Raw has kept its connection from before.
        connections += upstream.received()["connections"] - before
        short.append(spent)
        for seen, chats in zip(firsts, (read, piped), strict=True):
            seen.extend(chat.first for chat in chats)
        upstream.answers(LONG)
        _, piped, spent = await in_turn(raw, pipe, LONG_CHATS)
        chunks = max(chat.pieces for chat in piped)
        long.append(spent)
    first_raw = statistics.median(firsts[0])
    return {
        "first": statistics.median(firsts[1]) - first_raw,
        "first_raw": first_raw,
        "short": ratio([pipe for _, pipe in short], [raw for raw, _ in short]),
        "short_raw": statistics.median(raw for raw, _ in short),
        "long": ratio([pipe for _, pipe in long], [raw for raw, _ in long]),
        "long_raw": statistics.median(raw for raw, _ in long) * 1000 / LONG,
        "chunks": chunks / LONG,
        "connections": connections,
    }


async def crowd(client: Client, upstream: Upstream) -> dict[str, float]:
    """Many chats at once: CPU, the memory that they take at most, and the median first delta."""
    upstream.answers(CROWD_DELTAS, CROWD_PACE)
    gc.collect()
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # noqa: ASYNC240 - forget the peak so far
    began = time.process_time()
    chats = await asyncio.gather(*[client() for _ in range(CROWD)])
    return {
        "cpu": (time.process_time() - began) * 1e3,
        "memory": memory("VmHWM") - before,
        "first": statistics.median(chat.first for chat in chats),
    }


def memory(name: str) -> float:
    """A figure of this process's memory (VmRSS: now, VmHWM: the most since the peak was forgotten)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / 1e6


async def main(file: str, base_url: str, kind: str, rounds: int) -> dict[str, float]:
    """Load the pipe, learn from one chat what it sends, measure."""
    upstream = Upstream(base_url)
    caller = Caller(Path(file).read_text(encoding="utf-8"), base_url)  # noqa: ASYNC240
    await caller.start()
    upstream.answers(SHORT)
    for _ in range(3):
        await caller.chat()
    sent = [request for request in upstream.received()["received"] if request["method"] == "POST"]
    raw = Raw(base_url, sent[-1])
    await raw.chat()
    try:
        if kind == "turns":
            return await turns(raw.chat, caller.chat, upstream, rounds)
        return await crowd(raw.chat if kind == "raw" else caller.chat, upstream)
    finally:
        await raw.close()


if __name__ == "__main__":
    _, *given, last = sys.argv
    print(json.dumps(asyncio.run(main(*given, rounds=int(last)))))
