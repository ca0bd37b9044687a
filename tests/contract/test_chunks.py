"""What leaves the pipe is what the official SDK takes for a streamed, or a whole, chat completion."""

from __future__ import annotations

import json
from typing import Any

import openrouter.components as sdk
from hypothesis import given
from hypothesis import strategies as st

from openrouter_pipe.chat_stream import ChatReader
from openrouter_pipe.chunks import DONE, ChunkWriter
from openrouter_pipe.deltas import Delta, chat_usage
from openrouter_pipe.responses_stream import ResponsesReader
from openrouter_pipe.sse import SseDecoder

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
DELTAS = st.lists(st.fixed_dictionaries({}, optional={"reasoning_content": TEXTS, "content": TEXTS}), max_size=5)
REASONS = st.sampled_from(["stop", "length", "content_filter", "tool_calls"])
COUNTS = st.integers(0, 10**6)
USAGES = st.none() | st.builds(
    lambda prompt, completion, cost: {
        "input_tokens": prompt,
        "output_tokens": completion,
        "total_tokens": prompt + completion,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
        "cost": cost,
    },
    COUNTS,
    COUNTS,
    st.floats(0, 10),
)


def told(deltas: list[Delta]) -> list[str]:
    return ["".join(delta.get(kind, "") for delta in deltas) for kind in ("reasoning_content", "content")]


def streamed(deltas: list[Delta], reason: str, usage: dict[str, Any] | None) -> list[bytes]:
    writer = ChunkWriter("fn.openai.gpt-4o")
    items = [*map(writer.delta, deltas), writer.finish(reason)]
    return [*items, *([writer.usage(usage)] if usage else []), DONE]


@given(DELTAS, REASONS, USAGES)
def test_streams(deltas: list[Delta], reason: str, usage: dict[str, Any] | None) -> None:
    items = streamed(deltas, reason, chat_usage(usage) if usage else None)
    payloads = SseDecoder().feed(b"".join(items))
    assert len(payloads) == len(items)
    assert payloads.pop() == b"[DONE]"
    chunks = [sdk.ChatStreamChunk.model_validate(json.loads(payload)) for payload in payloads]
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == "".join(delta.get("content", "") for delta in deltas)
    finished = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert finished == [reason]
    told = [chunk.usage for chunk in chunks if chunk.usage]
    assert [one.total_tokens for one in told] == ([usage["total_tokens"]] if usage else [])


@given(DELTAS, REASONS, USAGES)
def test_whole_answers(deltas: list[Delta], reason: str, usage: dict[str, Any] | None) -> None:
    answer = ChunkWriter("fn.openai.gpt-4o").completion(deltas, reason, chat_usage(usage) if usage else None)
    assert answer["choices"][0]["message"]["content"] == "".join(delta.get("content", "") for delta in deltas)
    # OpenRouter's own answers have two more fields that OpenAI calls optional.
    assert sdk.ChatResult.model_validate({"system_fingerprint": None, **answer}).choices[0].finish_reason == reason


@given(DELTAS, REASONS)
def test_the_pipes_own_stream_reads_as_what_it_was_made_of(deltas: list[Delta], reason: str) -> None:
    reader = ChatReader()
    for payload in SseDecoder().feed(b"".join(streamed(deltas, reason, {"prompt_tokens": 1}))):
        reader.feed(payload)
    assert told(reader.take()) == told(deltas)
    assert (reader.finish_reason, reader.usage, reader.done) == (reason, {"prompt_tokens": 1}, True)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_both_endpoints_say_the_same(text: str) -> None:
    chat, responses = ChatReader(), ResponsesReader()
    chat.feed(json.dumps({"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]}).encode())
    responses.feed(json.dumps({"type": "response.output_text.delta", "output_index": 0, "delta": text}).encode())
    assert chat.take() == responses.take() == [{"content": text}]
