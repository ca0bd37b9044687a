"""`Pipe` as a whole: what it logs, and that nothing ever raises into Open WebUI."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from openrouter_pipe import answer, pipe
from openrouter_pipe.responses_stream import ResponsesReader
from openrouter_pipe.virtual_models import Published
from openrouter_sandbox import Sandbox


def new_pipe(sandbox: Sandbox, **valves: Any) -> pipe.Pipe:
    made = pipe.Pipe()
    configure(made, sandbox, **valves)
    return made


def configure(made: pipe.Pipe, sandbox: Sandbox, **valves: Any) -> None:
    made.valves = pipe.Pipe.Valves(**{"API_KEY": "sk-or-v1-test", "BASE_URL": sandbox.base_url, **valves})


async def told(made: pipe.Pipe, streaming: bool) -> list[dict[str, Any]]:
    """What a chat gets, as a list of events or the one object."""
    body = {"model": "x.openai.gpt-4o", "stream": streaming, "messages": [{"role": "user", "content": "Hi"}]}
    result = await made.pipe(body)
    if isinstance(result, dict):
        return [result]
    parts = [part async for part in result.body_iterator]
    assert parts[-1] == b"data: [DONE]\n\n"
    return [json.loads(bytes(part)[6:]) for part in parts[:-1]]


def fail(*_: object, **__: object) -> Any:
    raise KeyError("a surprise")


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_surprise_before_the_answer_is_one_plain_error(
    streaming: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pipe, "build_request", fail)
    async with Sandbox() as sandbox:
        assert await told(new_pipe(sandbox), streaming) == [{"error": {"message": answer.SURPRISE}}]
    assert "a surprise" in caplog.text, "the log has what the person is spared"


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_surprise_in_the_answer_is_one_plain_error(
    streaming: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ResponsesReader, "read", fail)
    async with Sandbox() as sandbox:
        assert await told(new_pipe(sandbox), streaming) == [{"error": {"message": answer.SURPRISE}}]
        assert sandbox.open_streams == 0
    assert "a surprise" in caplog.text


async def test_a_list_that_many_ask_for_at_once_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(pipe, "Published", lambda *given: made.append(Published(*given)) or made[-1])
    async with Sandbox() as sandbox:
        ours = new_pipe(sandbox)
        for number in (1, 2):
            lists = await asyncio.gather(*(ours.pipes() for _ in range(20)))
            assert all(len(entries) > 5 for entries in lists)
            assert len(made) == number
            configure(ours, sandbox, MODEL_ID="openai/*")


async def test_a_problem_is_logged_when_it_comes_and_not_again(caplog: pytest.LogCaptureFixture) -> None:
    async with Sandbox() as sandbox:
        made = new_pipe(sandbox, VARIANT_MODELS="no/such:nitro")
        for _ in range(3):
            await made.pipes()
        assert caplog.text.count("no/such:nitro") == 1
        configure(made, sandbox, VARIANT_MODELS="no/such:nitro, no/other:nitro")
        await made.pipes()
        assert caplog.text.count("no/such:nitro") == 1
        assert caplog.text.count("no/other:nitro") == 1


async def test_a_flood_of_problems_does_not_hide_the_next_one(caplog: pytest.LogCaptureFixture) -> None:
    async with Sandbox() as sandbox:
        made = new_pipe(sandbox, VARIANT_MODELS=",".join(f"no/such-{number}:nitro" for number in range(80)))
        await made.pipes()
        assert len(caplog.records) == 51
        assert "… and 30 more problems" in caplog.text
        configure(made, sandbox, MODEL_ID="gtp-4o")
        await made.pipes()
        assert "gtp-4o" in caplog.text
