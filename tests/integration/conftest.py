"""One sandbox for all tests of a module, forgetful between them, and the two endpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from openrouter_sandbox import Sandbox


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
