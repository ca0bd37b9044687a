"""What leaves the pipe: one complete event per item, in the shape of OpenAI's `chat.completion.chunk`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openrouter_pipe.chunks import DONE, ChunkWriter, error_body, error_event

NASTY = ["data: x", "a\n\nb", "\r\n", "\u2028", "</think>", '"\\', "\x00", "😀", "[DONE]"]


def parsed(item: bytes) -> dict[str, Any]:
    """The event in an item; fails unless it is exactly one."""
    lines = item.split(b"\n")
    assert len(lines) == 3
    assert (lines[1], lines[2]) == (b"", b"")
    assert lines[0].startswith(b"data: ")
    return dict(json.loads(lines[0][6:]))


@pytest.mark.parametrize("text", NASTY)
def test_a_delta_is_one_event_with_its_text(text: str) -> None:
    event = parsed(ChunkWriter("fn.openai.gpt-4o").delta({"reasoning_content": text, "content": text}))
    assert event["object"] == "chat.completion.chunk"
    assert event["model"] == "fn.openai.gpt-4o"
    assert isinstance(event["created"], int)
    assert event["choices"] == [
        {"index": 0, "delta": {"reasoning_content": text, "content": text}, "finish_reason": None}
    ]
    assert "usage" not in event


def test_what_is_empty_is_not_there() -> None:
    writer = ChunkWriter("m")
    assert parsed(writer.delta({"content": "a"}))["choices"][0]["delta"] == {"content": "a"}
    assert parsed(writer.delta({"reasoning_content": "a"}))["choices"][0]["delta"] == {"reasoning_content": "a"}


def test_finish_and_usage_are_events_of_the_same_answer() -> None:
    writer = ChunkWriter("m")
    events = [
        parsed(writer.delta({"content": "a"})),
        parsed(writer.finish("length")),
        parsed(writer.usage({"cost": 1})),
    ]
    assert len({(event["id"], event["created"], event["model"], event["object"]) for event in events}) == 1
    assert events[1]["choices"] == [{"index": 0, "delta": {}, "finish_reason": "length"}]
    assert (events[2]["choices"], events[2]["usage"]) == ([], {"cost": 1})
    assert ChunkWriter("m").usage({}) != writer.usage({})


def test_a_whole_answer_holds_everything() -> None:
    deltas = [{"reasoning_content": "a", "content": "b"}, {"reasoning_content": "c", "content": "d"}]
    answer = ChunkWriter("m").completion(deltas, "stop", {"cost": 1})
    assert (answer["object"], answer["model"], answer["usage"]) == ("chat.completion", "m", {"cost": 1})
    message = {"role": "assistant", "content": "bd", "reasoning_content": "ac"}
    assert answer["choices"] == [{"index": 0, "message": message, "finish_reason": "stop"}]
    assert "usage" not in ChunkWriter("m").completion([{"content": "b"}], "stop", None)


@pytest.mark.parametrize("text", NASTY)
def test_an_error_is_one_event_without_choices(text: str) -> None:
    assert parsed(error_event(text)) == error_body(text) == {"error": {"message": text}}


def test_done_is_openais_last_line() -> None:
    assert DONE == b"data: [DONE]\n\n"
