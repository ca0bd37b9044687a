"""A running sandbox and a small client for it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from openrouter_sandbox import Sandbox

KEY = {"Authorization": "Bearer sk-or-v1-test"}


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def error(self) -> Any:
        return self.json["error"]

    @property
    def events(self) -> list[Any]:
        """The parsed `data:` lines; [DONE] as a string."""
        lines = [line.removeprefix("data: ") for line in self.text.split("\n") if line.startswith("data: ")]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as opened:
        yield opened


Ask = Callable[..., Awaitable[Reply]]


@pytest.fixture
async def ask(sandbox: Sandbox, session: aiohttp.ClientSession) -> Ask:
    """`await ask("/key")`, `await ask("/responses", {...})`; `headers` replaces the key."""

    async def send(path: str, body: Any = None, headers: dict[str, str] = KEY, data: bytes | None = None) -> Reply:
        method = "GET" if body is None and data is None else "POST"
        async with session.request(method, sandbox.base_url + path, json=body, data=data, headers=headers) as response:
            return Reply(response.status, {**response.headers}, await response.text())

    return send


@pytest.fixture
async def chat(ask: Ask) -> Ask:
    """`await chat(model="x/y", …)`: one user message to /chat/completions."""

    async def send(headers: dict[str, str] | None = None, **body: Any) -> Reply:
        base = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "Hi there"}]}
        return await ask("/chat/completions", base | body, {**KEY, **(headers or {})})

    return send


@pytest.fixture
async def respond(ask: Ask) -> Ask:
    """The same for /responses."""

    async def send(headers: dict[str, str] | None = None, **body: Any) -> Reply:
        return await ask(
            "/responses", {"model": "openai/gpt-4o", "input": "Hi there"} | body, {**KEY, **(headers or {})}
        )

    return send
