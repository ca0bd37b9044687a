"""Events of both endpoints for tests, made by hand, and readers to put them into."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from openrouter_pipe.chat_stream import ChatReader
from openrouter_pipe.deltas import AnswerReader, merge_deltas
from openrouter_pipe.responses_stream import ResponsesReader

FIXTURES = Path(__file__).resolve().parents[1].parent / "shared" / "fixtures"
READERS: dict[str, type[AnswerReader]] = {"chat": ChatReader, "responses": ResponsesReader}
both = pytest.mark.parametrize("endpoint", READERS)
Event = dict[str, Any]
PRIVATE = "The provider keeps this reasoning private."


def stream_into(reader: AnswerReader, events: Sequence[object]) -> AnswerReader:
    for event in events:
        reader.feed(event if isinstance(event, bytes) else json.dumps(event).encode())
    return reader


def told(reader: AnswerReader) -> tuple[str, str]:
    """All reasoning and all text that was not taken yet."""
    return words(merge_deltas(reader.take()))


def words(delta: Event) -> tuple[str, str]:
    """The reasoning and the text of a delta."""
    return delta.get("reasoning_content", ""), delta.get("content", "")


def chat(*events: object) -> AnswerReader:
    return stream_into(ChatReader(), events)


def responses(*events: object) -> AnswerReader:
    return stream_into(ResponsesReader(), events)


def chunk(finish: str | None = None, **delta: object) -> Event:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def text(delta: str, index: int | None = 0) -> Event:
    return {"type": "response.output_text.delta", "output_index": index, "content_index": 0, "delta": delta}


def thought(delta: str, index: int = 0, part: int = 0) -> Event:
    return {"type": "response.reasoning_text.delta", "output_index": index, "content_index": part, "delta": delta}


def summary(delta: str, index: int = 0, part: int = 0) -> Event:
    return {
        "type": "response.reasoning_summary_text.delta",
        "output_index": index,
        "summary_index": part,
        "delta": delta,
    }


def message(*texts: str) -> Event:
    return {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text} for text in texts],
    }


def reasoning(content: Sequence[str] = (), summaries: Sequence[str] = ()) -> Event:
    return {
        "type": "reasoning",
        "content": [{"type": "reasoning_text", "text": text} for text in content],
        "summary": [{"type": "summary_text", "text": text} for text in summaries],
    }


def closing(*output: object, kind: str = "completed", **more: object) -> Event:
    return {"type": f"response.{kind}", "response": {"status": kind, "output": list(output), **more}}
