"""The package against the sandbox over real HTTP: every way an answer can go, on both endpoints, streaming and not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from integration.chats import ENDPOINTS, TEXT, ask, chat_body, open_stream, text_and_error, valves, works
from polling import seconds_until, until

from openrouter_pipe import attempt as attempts
from openrouter_pipe.pipe import Pipe
from openrouter_sandbox import Answer, Rule, Sandbox

# One loop for all: aiohttp keeps something of every loop it has seen.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("nothing_is_left_behind")]


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


async def test_many_answers_at_once_are_each_updated_less_often(
    pipe: Pipe, sandbox: Sandbox, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "_CROWD", 1)
    pipe.valves = valves(sandbox, endpoint, STREAM_INTERVAL_MS=20)
    sandbox.rules.append(Rule(answer=Answer(deltas=100), pace_seconds=0.005))
    alone = await ask(pipe, True)
    together = await asyncio.gather(*(ask(pipe, True) for _ in range(10)))
    assert {told.text for told in together} == {alone.text}
    assert max(told.kinds.count("delta") for told in together) < alone.kinds.count("delta") / 2


# --- What is odd, and not wrong


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


async def test_a_usage_nested_too_deeply_does_not_raise_into_open_webui(
    pipe: Pipe, sandbox: Sandbox, endpoint: str
) -> None:
    depth = 900
    usage = '{"a":' * depth + "1" + "}" * depth
    message = json.dumps({"content": TEXT})
    events = {
        "chat_completions": f'{{"choices": [{{"delta": {message}, "finish_reason": "stop"}}], "usage": {usage}}}',
        "responses": f'{{"type": "response.completed", "response": {{"output": [], "usage": {usage}}}}}',
    }
    sandbox.rules.append(Rule(events=[f"data: {events[endpoint]}\n\n"]))
    told = await ask(pipe, True)
    assert [error.split(".")[0] for error in told.errors] == ["The OpenRouter pipe met something it does not know"]


@pytest.mark.parametrize("task", ["", "title_generation"])
async def test_a_whole_answer_needs_no_finish_reason(sandbox: Sandbox, streaming: bool, task: str) -> None:
    # OpenRouter's OpenAPI document, ChatFinishReasonEnum: it may be null.
    choice = {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": None}
    sandbox.rules.append(Rule(status=200, body={"choices": [choice]}))
    pipe = Pipe()
    pipe.valves = valves(sandbox, "chat_completions")
    assert await text_and_error(await pipe.pipe(chat_body(stream=streaming), __task__=task)) == (TEXT, "")


async def test_comments_after_the_end_are_not_listened_to_for_ever(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "_AFTER_END_SECONDS", 0.3)
    event = {"choices": [{"index": 0, "delta": {"content": TEXT}, "finish_reason": "stop"}]}
    sandbox.rules.append(Rule(events=[f"data: {json.dumps(event)}\n\n", *(200 * [": hello\n\n"])], pace_seconds=0.1))
    pipe = Pipe()
    pipe.valves = valves(sandbox, "chat_completions", READ_TIMEOUT_SECONDS=60)
    told = await ask(pipe, True)
    assert (told.text, told.finish_reason, told.errors) == (TEXT, "stop", [])
    await until(lambda: sandbox.open_streams == 0)


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
    assert await seconds_until(lambda: sandbox.open_streams == 0) < 0.3
    await works(pipe, sandbox, True)


async def test_closing_between_two_pieces_closes_the_connection(pipe: Pipe, sandbox: Sandbox) -> None:
    sandbox.rules.append(Rule(answer=Answer(deltas=200), pace_seconds=0.05))
    stream = await open_stream(pipe)
    await anext(stream)
    assert sandbox.open_streams == 1
    await stream.aclose()
    assert await seconds_until(lambda: sandbox.open_streams == 0) < 0.3


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
    assert await seconds_until(lambda: sandbox.open_streams == 0) < 0.3
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
