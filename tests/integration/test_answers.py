"""The package against the sandbox over real HTTP: every way an answer can go, on both endpoints, streaming and not."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import time
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from polling import until
from starlette.responses import StreamingResponse

from openrouter_pipe import attempt as attempts
from openrouter_pipe.pipe import Pipe
from openrouter_pipe.settings import Settings
from openrouter_sandbox import Answer, Rule, Sandbox

# One loop for all: aiohttp keeps something of every loop it has seen.
pytestmark = pytest.mark.asyncio(loop_scope="module")

ENDPOINTS = {"responses": "/responses", "chat_completions": "/chat/completions"}
MODEL = "fn.openai.gpt-4o"
TEXT = "One two three four five six seven eight nine ten eleven twelve. Zwölf 😀!"
LIMIT_SECONDS = 5


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


@pytest.fixture(autouse=True, scope="module")
def quick_collections() -> Iterator[None]:
    """Garbage is looked for after each test; what was there before all of them need not be searched."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def nothing_is_left_behind(caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """No unclosed session, no task that nobody awaits, no warning in asyncio's log."""
    before = asyncio.all_tasks()
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.WARNING):
        warnings.simplefilter("always")
        yield
        await until(lambda: not left_tasks(before))
        gc.collect()
        await asyncio.sleep(0)
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
    noise = [record.getMessage() for record in caplog.records if record.name != "openrouter_pipe"]
    assert noise == []


def left_tasks(before: set[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    """Tasks of the pipe; the sandbox's own are the server's business."""
    return [task for task in asyncio.all_tasks() - before if "openrouter_pipe" in str(task.get_coro())]


def valves(sandbox: Sandbox, endpoint: str, **more: object) -> Settings:
    defaults = {"API_KEY": "sk-or-v1-secret123", "BASE_URL": sandbox.base_url, "ENDPOINT": endpoint, "MAX_RETRIES": 0}
    return Settings(**{**defaults, "STREAM_INTERVAL_MS": 0, "READ_TIMEOUT_SECONDS": 1, **more})


@dataclass
class Told:
    """What a person got to see of one answer."""

    text: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    usage: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)

    def read(self, item: bytes) -> None:
        """Take one item of a stream: exactly one complete event."""
        assert item.startswith(b"data: ")
        assert item.endswith(b"\n\n")
        assert item.count(b"\n") == 2
        content = item[6:-2]
        if content == b"[DONE]":
            self.kinds.append("done")
            return
        event = json.loads(content)
        if "error" in event:
            assert "choices" not in event
            self.errors.append(event["error"]["message"])
            self.kinds.append("error")
            return
        assert event["object"] == "chat.completion.chunk"
        assert event["model"] == MODEL
        if "usage" in event:
            self.usage.append(event["usage"])
            self.kinds.append("usage")
        for choice in event["choices"]:
            self.text += choice["delta"].get("content", "")
            self.reasoning += choice["delta"].get("reasoning_content", "")
            self.finish_reason = choice["finish_reason"] or self.finish_reason
            self.kinds.append("finish" if choice["finish_reason"] else "delta")


async def open_stream(pipe: Pipe, content: str = "Hi", **body: object) -> AsyncGenerator[bytes, None]:
    answer = await pipe.pipe(chat_body(content, stream=True, **body))
    assert isinstance(answer, StreamingResponse)
    return answer.body_iterator  # type: ignore[return-value]


def chat_body(content: str = "Hi", **body: object) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **body}


async def ask(pipe: Pipe, streaming: bool, **body: object) -> Told:
    """One chat, within a time limit."""
    told = Told()
    async with asyncio.timeout(LIMIT_SECONDS):
        if streaming:
            async for item in await open_stream(pipe, **body):
                told.read(item)
            assert told.kinds[-1] == "done"
            assert told.kinds.count("done") == 1
            return told
        answer = await pipe.pipe(chat_body(stream=False, **body))
    assert isinstance(answer, dict)
    if "error" in answer:
        assert answer.keys() == {"error"}
        return Told(errors=[answer["error"]["message"]])
    message = answer["choices"][0]["message"]
    assert (answer["object"], answer["model"]) == ("chat.completion", MODEL)
    return Told(
        message["content"],
        message.get("reasoning_content", ""),
        answer["choices"][0]["finish_reason"],
        [answer["usage"]] if "usage" in answer else [],
    )


async def works(pipe: Pipe, sandbox: Sandbox, streaming: bool) -> None:
    """The next chat is answered as if nothing had been."""
    sandbox.rules[:] = [Rule(answer=Answer(text=TEXT))]
    told = await ask(pipe, streaming)
    assert (told.text, told.errors, told.finish_reason) == (TEXT, [], "stop")


# --- What goes well


@pytest.mark.parametrize("reasoning", ["", "First this.\n\nThen that."])
@pytest.mark.parametrize("finish_reason", ["stop", "length", "content_filter"])
@pytest.mark.parametrize("chunk_bytes", [None, 1, 7])
async def test_an_answer_arrives_whole(
    pipe: Pipe, sandbox: Sandbox, streaming: bool, reasoning: str, finish_reason: str, chunk_bytes: int | None
) -> None:
    answer = Answer(text=TEXT, reasoning=reasoning, finish_reason=finish_reason)
    sandbox.rules.append(Rule(answer=answer, chunk_bytes=chunk_bytes))
    told = await ask(pipe, streaming)
    assert (told.text, told.reasoning, told.finish_reason, told.errors) == (TEXT, reasoning, finish_reason, [])
    (usage,) = told.usage
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
    assert usage["cost"] > 0


@pytest.mark.parametrize("usage_form", ["no_choices", "empty_delta", "repeat_finish"])
async def test_usage_comes_once_after_the_finish(pipe: Pipe, sandbox: Sandbox, usage_form: str) -> None:
    sandbox.rules.append(Rule(usage_form=usage_form))
    told = await ask(pipe, True)
    assert told.kinds[-3:] == ["finish", "usage", "done"]
    assert (told.kinds.count("finish"), told.kinds.count("usage")) == (1, 1)


async def test_the_request_that_arrives(pipe: Pipe, sandbox: Sandbox, endpoint: str, streaming: bool) -> None:
    await ask(pipe, streaming, temperature=0.5, num_ctx=4096)
    received = sandbox.received[-1]
    assert received.path.endswith(ENDPOINTS[endpoint])
    assert (received.body["model"], received.body["stream"]) == ("openai/gpt-4o", streaming)
    assert (received.body["temperature"], "num_ctx" in received.body) == (0.5, False)
    assert received.headers["Authorization"] == "Bearer sk-or-v1-secret123"
    assert received.headers["X-OpenRouter-Title"] == received.headers["X-Title"] == "Open WebUI"
    assert received.headers["HTTP-Referer"]
    assert received.headers["X-OpenRouter-Metadata"] == "enabled"


async def test_what_arrives_together_leaves_together(pipe: Pipe, sandbox: Sandbox) -> None:
    sandbox.rules.append(Rule(answer=Answer(deltas=2000)))
    told = await ask(pipe, True)
    assert told.text.split()[-1] == "word1999"
    assert told.kinds.count("delta") < 1000


async def test_a_paced_stream_is_shown_at_the_interval(pipe: Pipe, sandbox: Sandbox, endpoint: str) -> None:
    pipe.valves = valves(sandbox, endpoint, STREAM_INTERVAL_MS=100)
    sandbox.rules.append(Rule(answer=Answer(deltas=100), pace_seconds=0.003))
    told = await ask(pipe, True)
    assert told.text.split() == [f"word{number:04d}" for number in range(100)]
    assert 2 <= told.kinds.count("delta") <= 10


# --- What goes wrong before the answer


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 429, 500, 503])
async def test_a_refusal_is_one_error(pipe: Pipe, sandbox: Sandbox, streaming: bool, status: int) -> None:
    sandbox.rules.append(Rule(status=status))
    told = await ask(pipe, streaming)
    assert (len(told.errors), told.text, told.finish_reason, told.usage) == (1, "", None, [])
    assert "secret123" not in told.errors[0]
    await works(pipe, sandbox, streaming)


@pytest.mark.parametrize("status", [200, 401])
async def test_a_key_of_any_form_is_never_quoted(
    pipe: Pipe, sandbox: Sandbox, endpoint: str, streaming: bool, status: int
) -> None:
    pipe.valves = valves(sandbox, endpoint, API_KEY="sk-or-!hunter2")
    sandbox.rules.append(Rule(path=ENDPOINTS[endpoint], status=status, body={"error": "bad key (sk-or-!hunter2)!"}))
    (error,) = (await ask(pipe, streaming)).errors
    assert "hunter2" not in error
    assert "bad key" in error


async def test_a_web_page_instead_of_an_answer(pipe: Pipe, sandbox: Sandbox, streaming: bool) -> None:
    page = "<html><head><title>502 Bad Gateway</title></head><body></body></html>"
    sandbox.rules.append(Rule(status=502, body=page))
    (error,) = (await ask(pipe, streaming)).errors
    assert "a web page came back" in error
    assert "<" not in error
    await works(pipe, sandbox, streaming)


@pytest.mark.parametrize(
    "body", ["<html><title>Welcome</title></html>", "", "garbage", b"\x00\xff\xfe", "[]", "{}", "5"]
)
async def test_a_good_status_with_something_else(
    pipe: Pipe, sandbox: Sandbox, streaming: bool, body: str | bytes
) -> None:
    sandbox.rules.append(Rule(status=200, body=body))
    (error,) = (await ask(pipe, streaming)).errors
    assert "BASE_URL" in error
    await works(pipe, sandbox, streaming)


@pytest.mark.parametrize("code", [429, "429", "rate_limit_exceeded"])
async def test_a_good_status_with_an_error_in_it(
    pipe: Pipe, sandbox: Sandbox, streaming: bool, code: int | str
) -> None:
    body = {"error": {"code": code, "message": "x", "metadata": {"provider_name": "Fireworks", "raw": "Slow down"}}}
    sandbox.rules.append(Rule(status=200, body=body))
    (error,) = (await ask(pipe, streaming)).errors
    assert error.startswith("Fireworks is rate-limiting openai/gpt-4o: x: Slow down")
    await works(pipe, sandbox, streaming)


async def test_an_unreachable_host(pipe: Pipe, sandbox: Sandbox, endpoint: str, streaming: bool) -> None:
    port = sandbox.port
    pipe.valves = valves(sandbox, endpoint, BASE_URL="http://127.0.0.1:1/api/v1")
    (error,) = (await ask(pipe, streaming)).errors
    assert "127.0.0.1:1" in error
    assert str(port) not in error
    pipe.valves = valves(sandbox, endpoint)
    await works(pipe, sandbox, streaming)


async def test_a_server_that_is_silent_from_the_start(pipe: Pipe, sandbox: Sandbox, streaming: bool) -> None:
    sandbox.rules.append(Rule(delay_seconds=60))
    (error,) = (await ask(pipe, streaming)).errors
    assert "silent for 1 s" in error
    await until(lambda: sandbox.open_streams == 0)
    await works(pipe, sandbox, streaming)


# --- What goes wrong in the middle


async def test_an_error_in_the_middle_keeps_the_text(pipe: Pipe, sandbox: Sandbox, streaming: bool) -> None:
    error = {"code": 429, "message": "Provider is overloaded"}
    sandbox.rules.append(Rule(answer=Answer(text=TEXT, error=error)))
    told = await ask(pipe, streaming)
    assert len(told.errors) == 1
    assert "Provider is overloaded" in told.errors[0]
    assert told.text == (TEXT if streaming else "")
    assert "finish" not in told.kinds
    await works(pipe, sandbox, streaming)


@pytest.mark.parametrize("hang", [False, True])
async def test_an_error_is_shown_at_once_even_if_the_stream_stays_open(
    pipe: Pipe, sandbox: Sandbox, endpoint: str, hang: bool
) -> None:
    events = {
        "responses": b'data: {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "Gone"}}}',
        "chat_completions": b'data: {"choices": [{"delta": {}}], "error": {"code": 500, "message": "Gone"}}',
    }
    sandbox.rules.append(Rule(events=[events[endpoint], b"\n\n"], hang=hang))
    began = time.monotonic()
    (error,) = (await ask(pipe, True)).errors
    assert "Gone" in error
    assert time.monotonic() - began < 0.8
    await until(lambda: sandbox.open_streams == 0)
    await works(pipe, sandbox, True)


@pytest.mark.parametrize("count", [1, 3, 6])
async def test_a_stream_that_breaks_off(pipe: Pipe, sandbox: Sandbox, streaming: bool, count: int) -> None:
    sandbox.rules.append(Rule(answer=Answer(text=TEXT), cut_after_events=count))
    told = await ask(pipe, streaming)
    assert len(told.errors) == 1
    assert TEXT.startswith(told.text)
    assert told.finish_reason is None
    await works(pipe, sandbox, streaming)


@pytest.mark.parametrize("events", [[], [b": OPENROUTER PROCESSING\n\n"], [b"data: {}\n\n"], [b"data: nonsense\n\n"]])
async def test_a_stream_that_ends_without_an_end(pipe: Pipe, sandbox: Sandbox, events: list[bytes]) -> None:
    sandbox.rules.append(Rule(events=events))
    told = await ask(pipe, True)
    assert (len(told.errors), told.text, told.finish_reason) == (1, "", None)
    await works(pipe, sandbox, True)


async def test_a_stream_that_falls_silent(pipe: Pipe, sandbox: Sandbox) -> None:
    sandbox.rules.append(Rule(answer=Answer(text=TEXT), cut_after_events=6, hang=True))
    told = await ask(pipe, True)
    assert TEXT.startswith(told.text)
    assert len(told.errors) == 1
    assert "silent for 1 s" in told.errors[0]
    await until(lambda: sandbox.open_streams == 0)
    await works(pipe, sandbox, True)


async def test_comments_count_as_life(pipe: Pipe, sandbox: Sandbox) -> None:
    sandbox.rules.append(Rule(answer=Answer(text=TEXT), first_event_delay_seconds=1.5, keepalive_seconds=0.2))
    told = await ask(pipe, True)
    assert (told.text, told.errors) == (TEXT, [])


async def test_an_answer_that_is_complete_but_never_closed_is_an_answer(
    pipe: Pipe, sandbox: Sandbox, endpoint: str
) -> None:
    sandbox.rules.append(Rule(answer=Answer(text=TEXT), hang=True))
    told = await ask(pipe, True)
    assert (told.text, told.finish_reason, told.errors) == (TEXT, "stop", [])
    assert len(told.usage) == 1
    await until(lambda: sandbox.open_streams == 0)
    await works(pipe, sandbox, True)


async def test_silence_after_the_end_is_not_waited_out(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_AFTER_END_SECONDS", 0.2)
    event = {"choices": [{"index": 0, "delta": {"content": TEXT}, "finish_reason": "stop"}]}
    sandbox.rules.append(Rule(events=[f"data: {json.dumps(event)}\n\n"], hang=True))
    pipe = Pipe()
    pipe.valves = valves(sandbox, "chat_completions", READ_TIMEOUT_SECONDS=60)
    async with asyncio.timeout(5):
        told = await ask(pipe, True)
    assert (told.text, told.finish_reason, told.errors) == (TEXT, "stop", [])


GARBAGE = [
    b"\x00\xff\xfe\n\n",
    b"data: \xff\xff\n\n",
    b"data: {\n\n",
    b"data: [1]\n\n",
    b": :\n\n",
    b"data:\n\ndata: :\n\n",
]


async def test_garbage_between_the_events_changes_nothing(pipe: Pipe, sandbox: Sandbox, endpoint: str) -> None:
    good = {
        "responses": [
            b'data: {"type": "response.output_text.delta", "output_index": 0, "delta": "Hi"}\n\n',
            b'data: {"type": "response.completed", "response": {"output": [], "usage": {"input_tokens": 1}}}\r\n\r\n',
        ],
        "chat_completions": [
            b'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\n',
            b'data: {"choices": [{"delta": null, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}\r\n\r\n',
        ],
    }[endpoint]
    sandbox.rules.append(Rule(events=[*GARBAGE, good[0], *GARBAGE, good[1], b"data: [DONE]\n\n"], chunk_bytes=3))
    told = await ask(pipe, True)
    assert (told.text, told.finish_reason, told.usage) == ("Hi", "stop", [{"prompt_tokens": 1}])
    assert told.errors == []


@pytest.mark.parametrize(
    ("finish_reason", "part"), [("stop", "empty"), ("length", "limit"), ("content_filter", "filter")]
)
async def test_an_answer_with_nothing_in_it_is_an_error(
    pipe: Pipe, sandbox: Sandbox, streaming: bool, finish_reason: str, part: str
) -> None:
    sandbox.rules.append(Rule(answer=Answer(text="", reasoning="", finish_reason=finish_reason)))
    told = await ask(pipe, streaming)
    assert len(told.errors) == 1
    assert part in told.errors[0]


# --- Connections, and letting go


@pytest.mark.parametrize("chunk_bytes", [None, 100])
async def test_chats_one_after_the_other_share_a_connection(
    pipe: Pipe, sandbox: Sandbox, streaming: bool, chunk_bytes: int | None
) -> None:
    sandbox.rules.append(Rule(chunk_bytes=chunk_bytes))
    before = sandbox.connections
    for _ in range(20):
        assert (await ask(pipe, streaming)).errors == []
    assert sandbox.connections - before <= 2


@pytest.mark.parametrize("rule", [{"pace_seconds": 0.05}, {"hang": True}, {"pace_seconds": 30}], ids=str)
async def test_closing_the_answer_closes_the_connection(pipe: Pipe, sandbox: Sandbox, rule: dict[str, Any]) -> None:
    sandbox.rules.append(Rule(answer=Answer(deltas=200), cut_after_events=150, **rule))
    stream = await open_stream(pipe)
    await anext(stream) if "hang" in rule or rule["pace_seconds"] < 1 else None
    reading = asyncio.ensure_future(anext(stream))
    await until(lambda: sandbox.open_streams == 1)
    reading.cancel()
    await asyncio.wait([reading])
    await stream.aclose()
    assert await until(lambda: sandbox.open_streams == 0) < 0.3
    await works(pipe, sandbox, True)


async def test_closing_between_two_pieces_closes_the_connection(pipe: Pipe, sandbox: Sandbox) -> None:
    sandbox.rules.append(Rule(answer=Answer(deltas=200), pace_seconds=0.05))
    stream = await open_stream(pipe)
    await anext(stream)
    assert sandbox.open_streams == 1
    await stream.aclose()
    assert await until(lambda: sandbox.open_streams == 0) < 0.3


@pytest.mark.parametrize("rule", [{"delay_seconds": 30}, {"first_event_delay_seconds": 30}], ids=str)
async def test_cancelling_before_the_first_token_closes_the_connection(
    pipe: Pipe, sandbox: Sandbox, streaming: bool, rule: dict[str, Any]
) -> None:
    sandbox.rules.append(Rule(**rule))
    asking = asyncio.create_task(ask(pipe, streaming))
    await until(lambda: sandbox.open_streams == 1)
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()
    assert await until(lambda: sandbox.open_streams == 0) < 0.3
    await works(pipe, sandbox, streaming)


async def test_many_chats_at_once_do_not_mix(pipe: Pipe, sandbox: Sandbox, streaming: bool) -> None:
    sandbox.rules.append(Rule(delay_seconds=0.3))
    told = await asyncio.gather(*(ask(pipe, streaming, content=f"Number {number}.") for number in range(40)))
    for number, answer in enumerate(told):
        assert f'"Number {number}."' in answer.text
        assert answer.errors == []


async def test_a_pipe_dropped_in_the_middle_of_nothing_leaves_no_connection(sandbox: Sandbox, endpoint: str) -> None:
    made = Pipe()
    made.valves = valves(sandbox, endpoint)
    await ask(made, True)
    del made


# --- Settings that stand in the way


@pytest.mark.parametrize(
    ("valve", "value"), [("API_KEY", ""), ("API_KEY", "kéy"), ("BASE_URL", "no address"), ("BASE_URL", "ftp://x")]
)
async def test_a_setting_that_stands_in_the_way_is_named(
    pipe: Pipe, sandbox: Sandbox, endpoint: str, streaming: bool, valve: str, value: str
) -> None:
    pipe.valves = valves(sandbox, endpoint, **{valve: value})
    count = len(sandbox.received)
    (error,) = (await ask(pipe, streaming)).errors
    assert valve in error
    assert len(sandbox.received) == count
