"""Recorded traffic and published examples, replayed by the sandbox through the pipe: all that is in them, and once."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from host_model import HostModel
from starlette.responses import StreamingResponse

from openrouter_pipe.chat_stream import ChatReader
from openrouter_pipe.deltas import AnswerReader, Delta, chat_usage, merge_deltas
from openrouter_pipe.pipe import Pipe
from openrouter_pipe.responses_stream import ResponsesReader
from openrouter_pipe.settings import Settings
from openrouter_pipe.sse import SseDecoder
from openrouter_sandbox import Rule, Sandbox

FIXTURES = Path(__file__).resolve().parents[2].parent / "shared" / "fixtures"
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not FIXTURES.is_dir(), reason="../shared/fixtures is not here"),
]
CHAT_STREAMS = sorted(FIXTURES.glob("real_chat/*.sse"))
RESPONSES_STREAMS = sorted(FIXTURES.glob("real_responses/*.sse"))
CHAT_ANSWERS = sorted(FIXTURES.glob("real_chat/*.response.json"))
ERRORS = sorted(FIXTURES.glob("real_errors/*.response.json"))
STREAMS = [*CHAT_STREAMS, *RESPONSES_STREAMS]
EXAMPLES = sorted(FIXTURES.glob("openapi_examples/event.*.json"))
PRIVATE = "The provider keeps this reasoning private."
DONE = b"data: [DONE]\n\n"
Json = dict[str, Any]


def name_of(path: Path) -> str:
    return path.name


def endpoint_of(path: Path) -> str:
    return "responses" if path.parent.name == "real_responses" else "chat_completions"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as running:
        yield running


@pytest.fixture
def sandbox(shared_sandbox: Sandbox) -> Iterator[Sandbox]:
    shared_sandbox.rules.clear()
    yield shared_sandbox
    shared_sandbox.rules.clear()


def make_pipe(sandbox: Sandbox, endpoint: str) -> Pipe:
    pipe = Pipe()
    pipe.valves = Settings(
        API_KEY="sk-or-v1-x", BASE_URL=sandbox.base_url, ENDPOINT=endpoint, STREAM_INTERVAL_MS=0, MAX_RETRIES=0
    )
    return pipe


async def replay(sandbox: Sandbox, endpoint: str, rule: Rule) -> HostModel:
    """What Open WebUI makes of a streamed answer."""
    sandbox.rules[:] = [rule]
    body = {"model": "fn.openai.gpt-4o", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    host = HostModel()
    async with asyncio.timeout(5):
        answer = await make_pipe(sandbox, endpoint).pipe(body)
        assert isinstance(answer, StreamingResponse)
        async for event in answer.body_iterator:
            assert isinstance(event, bytes)
            host.read(event)
    assert host.ended
    return host


async def replay_whole(sandbox: Sandbox, endpoint: str, rule: Rule) -> Json:
    sandbox.rules[:] = [rule]
    body = {"model": "fn.openai.gpt-4o", "stream": False, "messages": [{"role": "user", "content": "Hi"}]}
    async with asyncio.timeout(5):
        answer = await make_pipe(sandbox, endpoint).pipe(body)
    assert isinstance(answer, dict)
    return answer


# --- What is in a recording, read by hand


def events_in(path: Path) -> list[Json]:
    lines = [line[6:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def chat_contents(messages: list[Json]) -> Json:
    """Text, reasoning, and so on, of the deltas of a stream, or of a message."""
    calls: dict[int, list[str]] = {}
    for call in itertools.chain(*(message.get("tool_calls") or [] for message in messages)):
        known = calls.setdefault(call["index"], ["", ""])
        known[0] = call["function"].get("name") or known[0]
        known[1] += call["function"].get("arguments") or ""
    notes = itertools.chain(*(message.get("annotations") or [] for message in messages))
    images = [image["image_url"]["url"] for message in messages for image in message.get("images") or []]
    details = [detail for message in messages for detail in message.get("reasoning_details") or []]
    reasoning = "".join(message.get("reasoning") or "" for message in messages)
    kept = [detail for detail in details if any(detail.get(key) for key in ("text", "summary", "data", "signature"))]
    return {
        "text": "".join(message.get("content") or "" for message in messages),
        "reasoning": reasoning or PRIVATE * bool(kept),
        "calls": [tuple(call) for call in calls.values()],
        "images": list(dict.fromkeys(images)),
        "sources": list(dict.fromkeys(note["url_citation"]["url"] for note in notes if "url_citation" in note)),
        "proofs": {detail[key] for detail in details for key in ("signature", "data") if detail.get(key)},
    }


def responses_contents(response: Json) -> Json:
    items = response["output"]
    parts = [(item["type"], part["text"]) for item in items for part in item.get("content") or []]
    return {
        "text": "".join(text for kind, text in parts if kind == "message"),
        "reasoning": "".join(text for kind, text in parts if kind == "reasoning"),
        "calls": [(item["name"], item["arguments"]) for item in items if item["type"] == "function_call"],
        "images": [],
        "sources": [],
        "proofs": set(),
    }


def contents(host: HostModel) -> Json:
    return {
        "text": host.text,
        "reasoning": host.reasoning,
        "calls": host.calls,
        "images": host.images,
        "sources": [source["url"] for source in host.sources],
        "proofs": {detail[key] for detail in host.details for key in ("signature", "data") if key in detail},
    }


def recorded(path: Path) -> tuple[Json, Json, str]:
    """Contents, usage under the chat names, and the finish reason of a recorded stream."""
    events = events_in(path)
    if endpoint_of(path) == "responses":
        return responses_contents(events[-1]["response"]), chat_usage(events[-1]["response"]["usage"]), "stop"
    choices = [choice for event in events for choice in event["choices"]]
    (usage,) = [event["usage"] for event in events if event.get("usage")]
    finish = next(choice["finish_reason"] for choice in choices if choice["finish_reason"])
    return chat_contents([choice["delta"] for choice in choices]), usage, finish


# --- Through the pipe


@pytest.mark.parametrize("chunk_bytes", [None, 100, 3])
@pytest.mark.parametrize("path", STREAMS, ids=name_of)
async def test_a_recorded_stream(sandbox: Sandbox, path: Path, chunk_bytes: int | None) -> None:
    host = await replay(sandbox, endpoint_of(path), Rule(events=[path.read_bytes()], chunk_bytes=chunk_bytes))
    expected, usage, finish = recorded(path)
    assert contents(host) == expected
    assert (host.usages, host.errors, host.finish_reason) == ([usage], [], finish)
    assert usage["prompt_tokens"] > 0
    assert usage["cost"] > 0


@pytest.mark.parametrize("path", CHAT_ANSWERS, ids=name_of)
async def test_a_recorded_answer(sandbox: Sandbox, path: Path) -> None:
    answer = json.loads(path.read_text(encoding="utf-8"))
    told = await replay_whole(sandbox, "chat_completions", Rule(body=answer))
    (choice,) = told["choices"]
    message = choice["message"]
    calls = [{**call, "index": index} for index, call in enumerate(message.get("tool_calls", []))]
    host = HostModel()
    host.read(
        b"data: %b\n\n" % json.dumps({"choices": [{**choice, "delta": {**message, "tool_calls": calls}}]}).encode()
    )
    assert contents(host) == chat_contents([answer["choices"][0]["message"]])
    assert told["usage"] == answer["usage"]
    assert choice["finish_reason"] == answer["choices"][0]["finish_reason"]
    ids = [call["id"] for call in answer["choices"][0]["message"].get("tool_calls") or []]
    assert [call["id"] for call in message.get("tool_calls", [])] == ids


@pytest.mark.parametrize("path", RESPONSES_STREAMS, ids=name_of)
async def test_the_closing_response_of_a_recorded_stream_as_a_whole_answer(sandbox: Sandbox, path: Path) -> None:
    expected, usage, finish = recorded(path)
    told = await replay_whole(sandbox, "responses", Rule(body=events_in(path)[-1]["response"]))
    (choice,) = told["choices"]
    assert choice["message"]["content"] == expected["text"]
    assert choice["message"]["reasoning_content"] == expected["reasoning"]
    assert (told["usage"], choice["finish_reason"]) == (usage, finish)


@pytest.mark.parametrize("endpoint", ["chat_completions", "responses"])
@pytest.mark.parametrize("path", ERRORS, ids=name_of)
@pytest.mark.parametrize("status", [200, 429])
async def test_a_recorded_error(sandbox: Sandbox, path: Path, endpoint: str, status: int) -> None:
    answer = json.loads(path.read_text(encoding="utf-8"))
    error = answer["error"]
    host = await replay(sandbox, endpoint, Rule(status=status, body=answer))
    assert (host.text, len(host.errors)) == ("", 1)
    assert error["metadata"]["provider_name"] in host.errors[0]
    assert "rate-limit" in host.errors[0]
    assert (await replay_whole(sandbox, endpoint, Rule(status=status, body=answer)))["error"]["message"] == host.errors[
        0
    ]


@pytest.mark.parametrize("endpoint", ["chat_completions", "responses"])
async def test_a_published_answer(sandbox: Sandbox, endpoint: str) -> None:
    answer = json.loads((FIXTURES / "openapi_examples" / f"post_{endpoint}.200.json").read_text(encoding="utf-8"))
    told = await replay_whole(sandbox, endpoint, Rule(body=answer))
    assert told["choices"][0]["message"]["content"]
    assert told["usage"]["prompt_tokens"]


async def test_the_published_events_in_a_row_hold_back_no_text(sandbox: Sandbox) -> None:
    examples = [json.loads(path.read_text(encoding="utf-8")) for path in EXAMPLES]
    ends = ("error", "response.completed", "response.failed", "response.incomplete")
    middle = [event for event in examples if event["type"] not in ends]
    said = {"type": "response.output_text.delta", "output_index": 77, "content_index": 0, "delta": "The end."}
    closing = {"type": "response.completed", "response": {"status": "completed", "output": []}}
    frames = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in (*middle, said, closing)]
    host = await replay(sandbox, "responses", Rule(events=[*frames, DONE]))
    assert host.text.endswith("The end.")
    assert (host.errors, len(middle) > 40) == ([], True)


# --- Every way of cutting


def decoded(path: Path, pieces: list[bytes]) -> tuple[Delta, Any, Any]:
    """The whole of what a reader makes of a stream that arrives in these pieces."""
    reader: AnswerReader = ResponsesReader() if endpoint_of(path) == "responses" else ChatReader()
    decoder = SseDecoder()
    deltas: list[Delta] = []
    for piece in pieces:
        for payload in decoder.feed(piece):
            reader.feed(payload)
        deltas += reader.take()
    for payload in decoder.flush():
        reader.feed(payload)
    return merge_deltas([*deltas, *reader.take(), *reader.close()]), reader.usage, reader.finish_reason


@pytest.mark.parametrize("path", STREAMS, ids=name_of)
async def test_a_recording_reads_the_same_however_it_is_cut(path: Path) -> None:
    stream = path.read_bytes()
    one_piece = decoded(path, [stream])
    assert decoded(path, [bytes([byte]) for byte in stream]) == one_piece
    dice = random.Random(7)
    for size in (2, 7, 100, 1000, 5000):
        edges = sorted({0, len(stream), *(dice.randrange(len(stream)) for _ in range(len(stream) // size + 1))})
        assert decoded(path, [stream[start:end] for start, end in itertools.pairwise(edges)]) == one_piece
    assert decoded(path, [stream.replace(b"\n", b"\r\n")]) == one_piece


@pytest.mark.parametrize("path", STREAMS, ids=name_of)
async def test_a_recording_cut_in_two_anywhere(path: Path) -> None:
    # The first and the last 1,500 boundaries: heads, comments, multi-byte letters and the end are there.
    stream = path.read_bytes()
    one_piece = decoded(path, [stream])
    places = {*range(1500), *range(len(stream) - 1500, len(stream))}
    step = max(1, len(places) // 120)
    for place in sorted(places)[::step]:
        assert decoded(path, [stream[:place], stream[place:]]) == one_piece


@pytest.mark.parametrize("path", STREAMS, ids=name_of)
async def test_a_recording_that_breaks_off_keeps_what_came(sandbox: Sandbox, path: Path) -> None:
    stream = path.read_bytes()
    expected, _, _ = recorded(path)
    for part in (0.2, 0.5, 0.7):
        host = await replay(sandbox, endpoint_of(path), Rule(events=[stream[: int(len(stream) * part)]]))
        assert expected["text"].startswith(host.text)
        assert expected["reasoning"].startswith(host.reasoning)
        assert len(host.errors) <= 1
        assert (len(host.errors) == 1) or host.finish_reason is not None
