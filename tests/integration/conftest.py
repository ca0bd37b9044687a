"""One sandbox for all tests of a module, forgetful between them, the two endpoints, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import warnings
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
import pytest_asyncio
from integration.chats import ENDPOINTS, SHORT_LIMITS, TEXT, left_tasks, valves
from integration.faults import ROOM, Good
from polling import until

from openrouter_pipe import answer, sse, transport
from openrouter_pipe.attempt import Attempt
from openrouter_pipe.deltas import AnswerReader
from openrouter_pipe.pipe import Pipe
from openrouter_sandbox import Answer, Rule, Sandbox

_OF_ONE_CHAT = (answer.Answer, Attempt, AnswerReader, aiohttp.ClientResponse)


@pytest.fixture(params=["responses", "chat_completions"])
def endpoint(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as running:
        yield running


@pytest.fixture
def sandbox(shared_sandbox: Sandbox) -> Sandbox:
    shared_sandbox.rules.clear()
    shared_sandbox.received.clear()
    return shared_sandbox


@pytest.fixture(params=[True, False], ids=["stream", "whole"])
def streaming(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest_asyncio.fixture(loop_scope="module")
async def pipe(sandbox: Sandbox, endpoint: str) -> Pipe:
    """A pipe that knows the catalog."""
    made = Pipe()
    made.valves = valves(sandbox, endpoint)
    assert await made.pipes()
    return made


@pytest.fixture(scope="module")
def quick_collections() -> Iterator[None]:
    """Garbage is looked for after each test; what was there before all of them need not be searched."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def kept_of_chats() -> list[object]:
    """What of chats is still in memory."""
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, _OF_ONE_CHAT)]


@pytest_asyncio.fixture(loop_scope="module")
async def nothing_is_left_behind(quick_collections: None, caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """No unclosed session, no task that nobody awaits, nothing of a chat in memory, no warning in asyncio's log."""
    before = asyncio.all_tasks()
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.WARNING):
        warnings.simplefilter("always")
        yield
        await until(lambda: not left_tasks(before))
        gc.collect()
        await until(lambda: not kept_of_chats())
    assert [str(warning.message) for warning in caught] == []
    noise = [record.getMessage() for record in caplog.records if record.name != "openrouter_pipe"]
    assert noise == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def good(shared_sandbox: Sandbox) -> dict[tuple[str, bool], Good]:
    """What the sandbox answers, for each endpoint, streaming or not."""
    found = {}
    shared_sandbox.rules[:] = [Rule(answer=Answer(text=TEXT))]
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer sk-or-v1-x"}) as session:
        for endpoint, path in ENDPOINTS.items():
            asked = {"input": "Hi"} if endpoint == "responses" else {"messages": [{"role": "user", "content": "Hi"}]}
            for streaming in (True, False):
                body = {"model": "openai/gpt-4o", "stream": streaming, **asked}
                async with session.post(shared_sandbox.base_url + path, json=body) as response:
                    found[endpoint, streaming] = Good.of(await response.read(), streaming)
    return found


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits of less than the second that a valve can have, and little room."""
    for valve in ("CONNECT_TIMEOUT_SECONDS", "READ_TIMEOUT_SECONDS"):
        monkeypatch.setitem(SHORT_LIMITS, valve, 0.4)
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", ROOM)
    monkeypatch.setattr(transport, "_MAX_JSON_BYTES", 4 * ROOM)
